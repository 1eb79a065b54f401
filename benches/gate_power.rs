//! How often the gate is wrong, and how often it sees a drop: the tables of `docs/gate.md`.
//!
//!     cargo run --example gate_power [SIMULATIONS]
//!     cargo run --example gate_power rare [SIMULATIONS [FIRST WORLD]]
//!
//! Every simulation draws the answers of two models to the same documents: 10 % of the documents are
//! discordant when nothing has dropped (5 % lost, 5 % won), as between a model and a fine-tune of it,
//! and a drop adds to those lost. Accuracy goes through the exact tests, weighted F1 of three classes
//! (60, 28 and 12 %) through the paired bootstrap. `rare` draws classes of 1 to 20 % of the documents, and
//! compares the bootstrap by itself with the gate's test, which bounds every class too (`gate_rare.rs`).

#![allow(clippy::print_stdout, reason = "a program that prints a table")]

#[path = "gate_rare.rs"]
mod rare;

use std::collections::BTreeMap;

use billon::internal::Evidence;
use billon::internal::bootstrap;
use billon::internal::holm;
use billon::internal::{Discordant, PairedTally};
use billon::internal::{DocumentValue, Statistic};
use billon::internal::{Draws, Resampling, Workers};

const ALPHA: f64 = 0.05;
const DOCUMENTS: [u64; 3] = [200, 500, 1000];
const BASELINE: f64 = 0.75;
const CHURN: f64 = 0.05;
/// Resamples of a simulated bootstrap; the gate takes more.
const DRAWS: usize = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = arguments.as_slice()
        && first == "rare"
    {
        let number = |index: usize| rest.get(index).and_then(|text| text.parse::<u64>().ok());
        return rare::table(number(0).unwrap_or(1_000), number(1).unwrap_or(0) as usize);
    }
    let simulations = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2_000);
    println!("{simulations} simulations a row for accuracy, a tenth of that for F1; alpha {ALPHA}\n");
    println!("| metric | tolerance | true drop | documents | fail | inconclusive | pass |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (tolerance, drop) in
        [(0.0, 0.0), (0.0, 0.02), (0.0, 0.05), (0.0, 0.1), (0.02, 0.0), (0.02, 0.02), (0.02, 0.05), (0.02, 0.1)]
    {
        for n in DOCUMENTS {
            let mut known = BTreeMap::new();
            let shares = shares(simulations, |index| {
                let pairs = draw_pairs(&mut stream(&["acc", &format!("{drop}"), &n.to_string()], index), n, drop);
                *known.entry((pairs.lost, pairs.won)).or_insert_with(|| {
                    let evidence = Evidence::of_pairs(pairs, tolerance, ALPHA);
                    (evidence.p_broken, evidence.p_kept)
                })
            });
            row("accuracy", tolerance, drop, n, shares);
        }
    }
    for drop in [0.0, 0.05, 0.1] {
        let expected = population_f1_drop(drop);
        // The tolerance at which the null hypothesis just holds, then none.
        for tolerance in if drop == 0.0 { vec![0.0] } else { vec![expected, 0.0] } {
            for n in DOCUMENTS {
                let shares = shares(simulations / 10, |index| {
                    let tally = draw_labels(&mut stream(&["f1", &format!("{drop}"), &n.to_string()], index), n, drop);
                    let excess = |counts: &[Vec<u64>]| tally.drop(&counts[0]) - tolerance;
                    let value = tally.drop(tally.counts());
                    let resampling = Resampling { seed: index, workers: Workers::available() };
                    let resampled = bootstrap(&[&tally], DRAWS, resampling, &["f1"], excess);
                    let evidence = Evidence::of_resamples((value, value - tolerance), false, &resampled, n, ALPHA);
                    (evidence.p_broken, evidence.p_kept)
                });
                row("weighted F1", tolerance, expected, n, shares);
            }
        }
    }
    families(simulations);
}

/// Ten tasks of 500 documents whose drop is exactly the tolerance: how often any of them fails.
fn families(simulations: u64) {
    let mut known = BTreeMap::new();
    let (mut plain, mut corrected) = (0_u64, 0_u64);
    for index in 0..simulations {
        let p: Vec<f64> = (0..10)
            .map(|task| {
                let pairs = draw_pairs(&mut stream(&["family", &task.to_string()], index), 500, 0.02);
                *known.entry((pairs.lost, pairs.won)).or_insert_with(|| Evidence::of_pairs(pairs, 0.02, ALPHA).p_broken)
            })
            .collect();
        plain += u64::from(p.iter().any(|p| *p <= ALPHA));
        corrected += u64::from(holm(&p).iter().any(|p| *p <= ALPHA));
    }
    let share = |count: u64| 100.0 * count as f64 / simulations as f64;
    println!("\nTen tasks at the edge of the tolerance: a gate fails falsely in {:.1} % of the runs", share(corrected));
    println!("({:.1} % without Holm's correction).", share(plain));
}

fn stream(parts: &[&str], index: u64) -> Draws {
    Draws::new(index, parts)
}

fn shares(simulations: u64, mut p_values: impl FnMut(u64) -> (f64, f64)) -> [f64; 3] {
    let mut counts = [0_u64; 3];
    for index in 0..simulations {
        let (broken, kept) = p_values(index);
        let verdict = if broken <= ALPHA {
            0
        } else if kept <= ALPHA {
            2
        } else {
            1
        };
        counts[verdict] += 1;
    }
    counts.map(|count| 100.0 * count as f64 / simulations as f64)
}

fn row(metric: &str, tolerance: f64, drop: f64, n: u64, [fail, open, pass]: [f64; 3]) {
    println!(
        "| {metric} | {:.1} | {:.1} | {n} | {fail:.1} % | {open:.1} % | {pass:.1} % |",
        100.0 * tolerance,
        100.0 * drop
    );
}

fn draw_pairs(draws: &mut Draws, n: u64, drop: f64) -> Discordant {
    let mut found = Discordant { lost: 0, won: 0, documents: n };
    for _ in 0..n {
        let u = draws.uniform();
        found.lost += u64::from(u < CHURN + drop);
        found.won += u64::from(u >= CHURN + drop && u < 2.0 * CHURN + drop);
    }
    found
}

/// Labels of documents: the baseline is right on [`BASELINE`] of them, and wrong answers are any other
/// class with equal chance.
fn draw_labels(draws: &mut Draws, n: u64, drop: f64) -> PairedTally {
    let pairs: Vec<_> = (0..n)
        .map(|_| {
            let (class, u) = (draws.uniform(), draws.uniform());
            let gold = if class < 0.6 { 0 } else { i32::from(class >= 0.88) + 1 };
            let lost = u < CHURN + drop;
            let won = !lost && u < 2.0 * CHURN + drop;
            let both = u >= 2.0 * CHURN + drop && u < BASELINE + CHURN;
            let mut wrong = || (gold + if draws.uniform() < 0.5 { 1 } else { 2 }) % 3;
            let (other, another) = (wrong(), wrong());
            let label = |predicted| DocumentValue::Labels { gold, predicted };
            match (lost, won, both) {
                (true, ..) => (label(gold), label(other)),
                (_, true, _) => (label(other), label(gold)),
                (.., true) => (label(gold), label(gold)),
                _ => (label(other), label(if draws.uniform() < 0.8 { other } else { another })),
            }
        })
        .collect();
    PairedTally::new(Statistic::F1Weighted, true, &pairs)
}

fn population_f1_drop(drop: f64) -> f64 {
    let tally = draw_labels(&mut stream(&["population"], 0), 400_000, drop);
    tally.drop(tally.counts())
}
