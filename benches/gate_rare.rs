//! False verdicts of label metrics when one class is rare: the second table of `docs/gate.md`.
//!
//! The tolerance is the true drop, where both kinds of false verdict are most frequent: a PASS and a FAIL
//! are wrong there with probability at most alpha each.

use billon::internal::Evidence;
use billon::internal::bootstrap;
use billon::internal::{DocumentValue, Statistic};
use billon::internal::{Draws, Resampling, Workers};
use billon::internal::{Mover, PairedTally, Quantity, Side};

use super::{ALPHA, stream};

/// Resamples of a simulated bootstrap; the gate takes more.
const DRAWS: usize = 500;
const METRICS: [(&str, Statistic); 3] =
    [("f1_macro", Statistic::F1Macro), ("f1_weighted", Statistic::F1Weighted), ("mcc", Statistic::Mcc)];

/// Right answer, the baseline's and the candidate's, and how frequent that is.
type Outcome = (i32, i32, i32, f64);

/// How the candidate is worse on a class of `share`.
fn worlds(share: f64) -> [(&'static str, usize, Vec<Outcome>); 4] {
    let (p, q) = (share, 1.0 - share);
    [
        // Recall of the rare class falls from 0.9 to 0.5; it is also predicted in 0.5 % of the other documents.
        (
            "recall 0.9 to 0.5",
            2,
            vec![
                (1, 1, 1, 0.5 * p),
                (1, 1, 0, 0.4 * p),
                (1, 0, 0, 0.1 * p),
                (0, 1, 1, 0.005 * q),
                (0, 0, 0, 0.995 * q),
            ],
        ),
        // The candidate predicts the rare class half as often again where it is wrong.
        (
            "precision falls",
            2,
            vec![
                (1, 1, 1, 0.9 * p),
                (1, 0, 0, 0.1 * p),
                (0, 1, 1, 0.005 * q),
                (0, 0, 1, 0.5 * p),
                (0, 0, 0, 0.995 * q - 0.5 * p),
            ],
        ),
        // Two large classes on which the models disagree as fine-tunes do, a third whose recall falls.
        (
            "three classes, churn",
            3,
            vec![
                (2, 2, 2, 0.5 * p),
                (2, 2, 0, 0.2 * p),
                (2, 2, 1, 0.2 * p),
                (2, 0, 0, 0.05 * p),
                (2, 1, 1, 0.05 * p),
                (0, 0, 0, 0.35 * q),
                (0, 0, 1, 0.0225 * q),
                (0, 0, 2, 0.0025 * q),
                (0, 1, 0, 0.0225 * q),
                (0, 2, 0, 0.0025 * q),
                (0, 1, 1, 0.1 * q),
                (1, 1, 1, 0.35 * q),
                (1, 1, 0, 0.0225 * q),
                (1, 1, 2, 0.0025 * q),
                (1, 0, 1, 0.0225 * q),
                (1, 2, 1, 0.0025 * q),
                (1, 0, 0, 0.1 * q),
            ],
        ),
        // Nothing falls: the power of the gate at a tolerance of 0.1, and its false alarms.
        (
            "nothing dropped",
            2,
            vec![
                (1, 1, 1, 0.8 * p),
                (1, 1, 0, 0.05 * p),
                (1, 0, 1, 0.05 * p),
                (1, 0, 0, 0.1 * p),
                (0, 0, 0, 0.85 * q),
                (0, 0, 1, 0.05 * q),
                (0, 1, 0, 0.05 * q),
                (0, 1, 1, 0.05 * q),
            ],
        ),
    ]
}

/// Which sizes and shares are drawn for a world, and what part of the simulations.
fn grid(world: usize) -> (&'static [u64], &'static [f64], u64) {
    match world {
        0 | 1 => (&[100, 200, 500, 1000], &[0.01, 0.02, 0.05, 0.1, 0.2], 1),
        2 => (&[200, 500], &[0.01, 0.05, 0.2], 2),
        _ => (&[100, 200, 500, 1000], &[0.01, 0.05, 0.2], 5),
    }
}

/// Prints the table, from the world of this number on.
pub(crate) fn table(simulations: u64, first: usize) {
    println!(
        "{simulations} simulations a row, half of that for three classes, a fifth where nothing dropped and for the"
    );
    println!("bootstrap alone;");
    println!("{DRAWS} resamples, alpha {ALPHA}; tolerance = true drop, 10 where nothing dropped\n");
    println!(
        "| what changes | metric | documents | class, % | tolerance | bootstrap alone: pass | fail | gate: pass | fail |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut worst = [[0.0_f64; 2]; 2];
    for world in first..4 {
        let (sizes, shares, part) = grid(world);
        for (name, statistic) in METRICS {
            for &n in sizes {
                for &share in shares {
                    let (what, choices, outcomes) = &worlds(share)[world];
                    let tally = |counts: &[u64]| tally(statistic, *choices, outcomes, counts);
                    let whole: Vec<u64> = outcomes.iter().map(|(.., p)| (p * 100_000.0).round() as u64).collect();
                    let whole = tally(&whole);
                    let truth = whole.drop(whole.counts());
                    let at_edge = truth.abs() > 1e-9;
                    let tolerance = if at_edge { truth } else { 0.1 };
                    let rates = |simulations: u64, verdicts: &dyn Fn(&PairedTally, u64) -> [bool; 2]| {
                        let mut counts = [0_u64; 2];
                        for index in 0..simulations {
                            let mut draws = stream(&["rare", what, &n.to_string(), &format!("{share}")], index);
                            let found = verdicts(&tally(&drawn(&mut draws, outcomes, n)), index);
                            counts.iter_mut().zip(found).for_each(|(count, one)| *count += u64::from(one));
                        }
                        counts.map(|count| 100.0 * count as f64 / simulations as f64)
                    };
                    let fewer = (simulations / 5).max(1);
                    let own = (world == 0).then(|| rates(fewer, &|tally, index| of_bootstrap(tally, tolerance, index)));
                    let simulations = (simulations / part).max(1);
                    let gate = rates(simulations, &|tally, index| of_gate(tally, tolerance, index));
                    let [own_pass, own_fail] =
                        own.map_or([String::new(), String::new()], |r| r.map(|r| format!("{r:.1} %")));
                    println!(
                        "| {what} | {name} | {n} | {:.0} | {:.1} | {own_pass} | {own_fail} | {:.1} % | {:.1} % |",
                        100.0 * share,
                        100.0 * tolerance,
                        gate[0],
                        gate[1]
                    );
                    for (worst, found) in worst.iter_mut().zip([own.unwrap_or([0.0; 2]), gate]) {
                        if at_edge {
                            worst.iter_mut().zip(found).for_each(|(worst, rate)| *worst = worst.max(rate));
                        }
                    }
                }
            }
        }
    }
    let [[own_pass, own_fail], [pass, fail]] = worst;
    println!("\nWorst rates at the edge: bootstrap alone {own_pass:.1} % false pass, {own_fail:.1} % false fail;");
    println!("gate {pass:.1} % and {fail:.1} %.");
}

fn tally(statistic: Statistic, choices: usize, outcomes: &[Outcome], counts: &[u64]) -> PairedTally {
    let documents = outcomes.iter().zip(counts).flat_map(|(&(gold, a, b, _), &count)| {
        let label = |predicted| DocumentValue::Labels { gold, predicted };
        std::iter::repeat_n((label(a), label(b)), count as usize)
    });
    PairedTally::with_choices(statistic, true, &documents.collect::<Vec<_>>(), choices)
}

/// Counts of outcomes among `n` documents.
fn drawn(draws: &mut Draws, outcomes: &[Outcome], n: u64) -> Vec<u64> {
    let (mut left, mut rest) = (n, 1.0);
    let mut counts = Vec::with_capacity(outcomes.len());
    for (index, (.., p)) in outcomes.iter().enumerate() {
        let count = if index + 1 == outcomes.len() { left } else { draws.binomial(left, (p / rest).min(1.0)) };
        left -= count;
        rest -= p;
        counts.push(count);
    }
    counts
}

/// Pass and fail of the bootstrap.
fn of_bootstrap(tally: &PairedTally, tolerance: f64, seed: u64) -> [bool; 2] {
    let value = tally.drop(tally.counts());
    let resampling = Resampling { seed, workers: Workers::available() };
    let resampled = bootstrap(&[tally], DRAWS, resampling, &["rare"], |counts| tally.drop(&counts[0]) - tolerance);
    let evidence = Evidence::of_resamples((value, value - tolerance), false, &resampled, tally.documents(), ALPHA);
    [evidence.p_kept <= ALPHA, evidence.p_broken <= ALPHA]
}

/// The same where the limits of the classes agree. The bootstrap is only asked where they do.
fn of_gate(tally: &PairedTally, tolerance: f64, seed: u64) -> [bool; 2] {
    let tasks = [tally];
    let excess = |scores: &[(f64, f64)]| scores[0].0 - scores[0].1 - tolerance;
    let holds = |side| Mover::new(&tasks, Quantity::Drop, side, &excess).bound(ALPHA) <= 0.0;
    let (kept, broken) = (holds(Side::Kept), holds(Side::Broken));
    if !kept && !broken {
        return [false; 2];
    }
    let [pass, fail] = of_bootstrap(tally, tolerance, seed);
    [pass && kept, fail && broken]
}
