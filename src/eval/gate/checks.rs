//! The checks of a gate: one a rule of a task, one a rule of a group.

use super::check::Check;
use super::config::{GateConfig, Rules};
use super::decision::{Evidence, Verdict};
use super::limits::check_group;
use crate::error::Result;
use crate::eval::compare::paired::{DRAWS, bootstrap};
use crate::eval::compare::{Mover, PairedTally, Pairing, Quantity, Side};
use crate::eval::metrics::statistic::Statistic;
use crate::eval::results::{ResultsError, RunResults};
use crate::stats::resample::Resampling;

pub(super) fn check_task(
    config: &GateConfig,
    pairing: &Pairing,
    rules: &Rules,
    resampling: Resampling,
    checks: &mut Vec<Check>,
) {
    let tally = &pairing.tally;
    let alpha = rules.alpha.unwrap_or(config.alpha);
    let (baseline, candidate) = tally.scores(tally.counts());
    let mut add = |rule, limit, evidence: Evidence| {
        checks.push(Check {
            name: pairing.task.clone(),
            group: false,
            role: pairing.role.clone(),
            metric: pairing.key.clone(),
            rule,
            limit,
            alpha,
            baseline,
            candidate,
            // The same answers, or the same weights: nothing can have dropped, however few they are.
            evidence: if pairing.identical && rule != "min" { unchanged(evidence) } else { evidence },
            p_fail: 1.0,
            verdict: Verdict::Inconclusive,
            documents_needed: None,
            reason: String::new(),
        });
    };
    let stream = |rule| ["gate", pairing.task.as_str(), pairing.key.as_str(), rule];
    let n = tally.documents();
    if let Some(limit) = rules.max_drop {
        let evidence = match tally.discordant() {
            Some(pairs) => Evidence::of_pairs(pairs, limit, alpha),
            None => {
                resampled(&[tally], resampling, &stream("max_drop"), n, alpha, |drops, _| (drops[0], drops[0] - limit))
            }
        };
        add("max_drop", limit, evidence);
    }
    if let Some(limit) = rules.max_drop_rel {
        let evidence = resampled(&[tally], resampling, &stream("max_drop_rel"), n, alpha, |drops, scores| {
            (drops[0], drops[0] - limit * scores[0].0.abs())
        });
        add("max_drop_rel", limit, evidence);
    }
    if let Some(limit) = rules.min {
        let evidence = match tally.discordant() {
            Some(_) if tally.statistic == Statistic::Mean && tally.higher_is_better => {
                Evidence::of_share((candidate * n as f64).round() as u64, n, limit.clamp(0.0, 1.0), alpha)
            }
            _ => {
                let sign = if tally.higher_is_better { -1.0 } else { 1.0 };
                resampled(&[tally], resampling, &stream("min"), n, alpha, |_, scores| {
                    (scores[0].1, sign * (scores[0].1 - limit))
                })
            }
        };
        add("min", limit, evidence);
    }
}

/// Evidence that says nothing changed.
fn unchanged(evidence: Evidence) -> Evidence {
    Evidence { p_broken: 1.0, p_kept: 0.0, bounds: [evidence.value, evidence.value], ..evidence }
}

/// Bootstraps a quantity of one or several tasks and its excess over the limit, from their drops and
/// their (baseline, candidate) scores, and bounds it class by class.
fn resampled(
    tasks: &[&PairedTally],
    resampling: Resampling,
    stream: &[&str],
    documents: u64,
    alpha: f64,
    quantity: impl Fn(&[f64], &[(f64, f64)]) -> (f64, f64) + Sync,
) -> Evidence {
    let of_scores = |scores: &[(f64, f64)]| {
        let drops: Vec<f64> =
            tasks.iter().zip(scores).map(|(task, (a, b))| if task.higher_is_better { a - b } else { b - a }).collect();
        quantity(&drops, scores)
    };
    let of = |counts: &[Vec<u64>]| {
        let scores: Vec<(f64, f64)> = tasks.iter().zip(counts).map(|(task, counts)| task.scores(counts)).collect();
        of_scores(&scores)
    };
    let whole: Vec<Vec<u64>> = tasks.iter().map(|task| task.counts().to_vec()).collect();
    let (value, excess) = of(&whole);
    let resampled = bootstrap(tasks, DRAWS, resampling, stream, |counts| of(counts).1);
    // Only a greatest value of a metric that is better when lower rises with its excess.
    let falls = stream.last() == Some(&"min") && tasks.iter().all(|task| task.higher_is_better);
    let evidence = Evidence::of_resamples((value, excess), falls, &resampled, documents, alpha);
    let bounded = if stream.last() == Some(&"min") { Quantity::Score } else { Quantity::Drop };
    let excess = |scores: &[(f64, f64)]| of_scores(scores).1;
    let [kept, broken] = [Side::Kept, Side::Broken].map(|side| Mover::new(tasks, bounded, side, &excess));
    evidence.within(&kept, &broken, falls, alpha)
}

pub(super) fn check_groups(
    config: &GateConfig,
    candidate: &RunResults,
    pairings: &[(Pairing, Rules)],
    resampling: Resampling,
    checks: &mut Vec<Check>,
) -> Result<()> {
    for group in &config.groups {
        let listed = if !group.tasks.is_empty() || group.role.is_some() {
            group.tasks.clone()
        } else {
            let known = candidate.groups();
            match known.iter().find(|(name, _)| *name == group.name) {
                Some((_, tasks)) => tasks.clone(),
                None => {
                    let known = known.into_iter().map(|(name, _)| name).collect();
                    let (task, path) = (group.name.clone(), candidate.path.clone());
                    return Err(ResultsError::NoTask { task, path, known }.into());
                }
            }
        };
        for task in &listed {
            if !pairings.iter().any(|(pairing, _)| pairing.task == *task) {
                candidate.task(task)?;
                return Err(ResultsError::NoTask {
                    task: task.clone(),
                    path: candidate.path.clone(),
                    known: pairings.iter().map(|(pairing, _)| pairing.task.clone()).collect(),
                }
                .into());
            }
        }
        let members: Vec<&Pairing> = pairings
            .iter()
            .map(|(pairing, _)| pairing)
            .filter(|p| listed.contains(&p.task) || (group.role.is_some() && p.role == group.role))
            .collect();
        if members.is_empty() && config.roles_may_be_empty {
            continue;
        }
        check_group(config, group, &members)?;
        let tallies: Vec<&PairedTally> = members.iter().map(|pairing| &pairing.tally).collect();
        let documents: u64 = tallies.iter().map(|tally| tally.documents()).sum();
        let weights: Vec<f64> = tallies
            .iter()
            .map(|tally| {
                if group.weight_by_size {
                    tally.documents() as f64 / documents as f64
                } else {
                    1.0 / tallies.len() as f64
                }
            })
            .collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| -> f64 { values.zip(&weights).map(|(x, w)| x * w).sum() };
        let alpha = group.rules.alpha.unwrap_or(config.alpha);
        let scores: Vec<(f64, f64)> = tallies.iter().map(|tally| tally.scores(tally.counts())).collect();
        let baseline = mean(&mut scores.iter().map(|s| s.0));
        let candidate = mean(&mut scores.iter().map(|s| s.1));
        // `check_group` has seen to it that all have one direction.
        let rises = tallies.iter().all(|tally| tally.higher_is_better);
        let rules =
            [("max_drop", group.rules.max_drop), ("max_drop_rel", group.rules.max_drop_rel), ("min", group.rules.min)];
        for (rule, limit) in rules {
            let Some(limit) = limit else { continue };
            let stream = ["gate-group", group.name.as_str(), rule];
            let evidence = resampled(&tallies, resampling, &stream, documents, alpha, |drops, scores| {
                let drop = mean(&mut drops.iter().copied());
                match rule {
                    "max_drop" => (drop, drop - limit),
                    "max_drop_rel" => (drop, drop - limit * mean(&mut scores.iter().map(|s| s.0)).abs()),
                    _ => {
                        let score = mean(&mut scores.iter().map(|s| s.1));
                        (score, if rises { limit - score } else { score - limit })
                    }
                }
            });
            let identical = members.iter().all(|pairing| pairing.identical) && rule != "min";
            checks.push(Check {
                name: group.name.clone(),
                group: true,
                role: group.role.clone(),
                metric: String::new(),
                rule,
                limit,
                alpha,
                baseline,
                candidate,
                evidence: if identical { unchanged(evidence) } else { evidence },
                p_fail: 1.0,
                verdict: Verdict::Inconclusive,
                documents_needed: None,
                reason: String::new(),
            });
        }
    }
    Ok(())
}
