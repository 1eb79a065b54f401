//! Applying a gate to two results.

use serde::Serialize;

use super::config::{GateConfig, Rules};
use super::decision::{Evidence, Verdict, holm};
use crate::error::Result;
use crate::eval::compare::paired::{DRAWS, bootstrap};
use crate::eval::compare::pairing::{Flip, Pairing, pair};
use crate::eval::compare::{CompareError, PairedTally};
use crate::eval::metric::statistic::Statistic;
use crate::eval::results::{ResultsError, RunResults};

/// What a gate found.
#[derive(Debug, Clone, Serialize)]
pub struct GateReport {
    /// The baseline's results file.
    pub baseline: String,
    /// The candidate's.
    pub candidate: String,
    /// The worst verdict of all checks.
    pub verdict: Verdict,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Checks: tasks in the candidate's order, then groups.
    pub checks: Vec<Check>,
    /// Flipped documents of the checked tasks, the worst losses first.
    pub flips: Vec<(String, Vec<Flip>)>,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The task or group.
    pub name: String,
    /// Whether it is a group.
    pub group: bool,
    /// The task's role.
    pub role: Option<String>,
    /// `"<metric>,<slot>"`; empty for groups, whose tasks have their own.
    pub metric: String,
    /// `max_drop`, `max_drop_rel` or `min`.
    pub rule: &'static str,
    /// The rule's value.
    pub limit: f64,
    /// Level.
    pub alpha: f64,
    /// The baseline's score.
    pub baseline: f64,
    /// The candidate's score.
    pub candidate: f64,
    /// What the documents say.
    pub evidence: Evidence,
    /// `p_broken` after Holm's correction over all checks of the gate.
    pub p_fail: f64,
    /// The verdict.
    pub verdict: Verdict,
    /// Documents that would decide an inconclusive check.
    pub documents_needed: Option<u64>,
    /// Why, in words.
    pub reason: String,
}

/// Decides.
///
/// # Errors
/// Results that lack what is needed or were not asked the same way.
pub fn decide(config: &GateConfig, baseline: &RunResults, candidate: &RunResults) -> Result<GateReport> {
    let names = task_names(config, baseline, candidate)?;
    let mut pairings = Vec::new();
    for name in &names {
        let stated = candidate.task(name)?.role.as_deref().or(baseline.task(name)?.role.as_deref());
        let role = config.role(name, stated).map(str::to_owned);
        let rules = config.rules(name, role.as_deref());
        let mut pairing = pair(baseline, candidate, name, rules.metric.as_deref(), true)?;
        pairing.role = role;
        pairings.push((pairing, rules));
    }
    let mut checks = Vec::new();
    for (pairing, rules) in &pairings {
        check_task(config, pairing, rules, &mut checks);
    }
    check_groups(config, candidate, &pairings, &mut checks)?;
    let adjusted = holm(&checks.iter().map(|check| check.evidence.p_broken).collect::<Vec<_>>());
    let family = checks.len() as f64;
    for (check, p_fail) in checks.iter_mut().zip(adjusted) {
        check.p_fail = p_fail;
        conclude(check, family);
    }
    Ok(GateReport {
        baseline: baseline.path.display().to_string(),
        candidate: candidate.path.display().to_string(),
        verdict: checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Pass),
        seed: config.seed,
        checks,
        flips: pairings.into_iter().map(|(pairing, _)| (pairing.task, pairing.flips)).collect(),
    })
}

/// The tasks to check. A task that the baseline has and the candidate lacks is not passed over.
fn task_names(config: &GateConfig, baseline: &RunResults, candidate: &RunResults) -> Result<Vec<String>> {
    let named: Vec<String> = if config.only.is_empty() {
        let tasks = candidate.tasks.iter().chain(&baseline.tasks).map(|task| task.name.clone());
        tasks.chain(config.tasks.iter().map(|(name, ..)| name.clone())).collect()
    } else {
        config.only.clone()
    };
    let mut names: Vec<String> = Vec::new();
    for name in named {
        baseline.task(&name)?;
        candidate.task(&name)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        let (baseline, candidate) = (baseline.path.clone(), candidate.path.clone());
        return Err(CompareError::NoTask { baseline, candidate }.into());
    }
    Ok(names)
}

fn check_task(config: &GateConfig, pairing: &Pairing, rules: &Rules, checks: &mut Vec<Check>) {
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
                resampled(&[tally], config.seed, &stream("max_drop"), n, alpha, |drops, _| (drops[0], drops[0] - limit))
            }
        };
        add("max_drop", limit, evidence);
    }
    if let Some(limit) = rules.max_drop_rel {
        let evidence = resampled(&[tally], config.seed, &stream("max_drop_rel"), n, alpha, |drops, scores| {
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
                resampled(&[tally], config.seed, &stream("min"), n, alpha, |_, scores| {
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
/// their (baseline, candidate) scores.
fn resampled(
    tasks: &[&PairedTally],
    seed: u64,
    stream: &[&str],
    documents: u64,
    alpha: f64,
    quantity: impl Fn(&[f64], &[(f64, f64)]) -> (f64, f64) + Sync,
) -> Evidence {
    let of = |counts: &[Vec<u64>]| {
        let scores: Vec<(f64, f64)> = tasks.iter().zip(counts).map(|(task, counts)| task.scores(counts)).collect();
        let drops: Vec<f64> =
            tasks.iter().zip(&scores).map(|(task, (a, b))| if task.higher_is_better { a - b } else { b - a }).collect();
        quantity(&drops, &scores)
    };
    let whole: Vec<Vec<u64>> = tasks.iter().map(|task| task.counts().to_vec()).collect();
    let (value, excess) = of(&whole);
    let resampled = bootstrap(tasks, DRAWS, seed, stream, |counts| of(counts).1);
    // Only a greatest value of a metric that is better when lower rises with its excess.
    let falls = stream.last() == Some(&"min") && tasks.iter().all(|task| task.higher_is_better);
    Evidence::of_resamples((value, excess), falls, &resampled, documents, alpha)
}

fn check_groups(
    config: &GateConfig,
    candidate: &RunResults,
    pairings: &[(Pairing, Rules)],
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
        if members.is_empty() {
            let (baseline, candidate) = (candidate.path.clone(), candidate.path.clone());
            return Err(CompareError::NoTask { baseline, candidate }.into());
        }
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
        let rules =
            [("max_drop", group.rules.max_drop), ("max_drop_rel", group.rules.max_drop_rel), ("min", group.rules.min)];
        for (rule, limit) in rules {
            let Some(limit) = limit else { continue };
            let stream = ["gate-group", group.name.as_str(), rule];
            let evidence = resampled(&tallies, config.seed, &stream, documents, alpha, |drops, scores| {
                let drop = mean(&mut drops.iter().copied());
                match rule {
                    "max_drop" => (drop, drop - limit),
                    "max_drop_rel" => (drop, drop - limit * mean(&mut scores.iter().map(|s| s.0)).abs()),
                    _ => {
                        let score = mean(&mut scores.iter().map(|s| s.1));
                        (score, limit - score)
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

/// Sets verdict and reason.
fn conclude(check: &mut Check, family: f64) {
    let evidence = &check.evidence;
    let (what, limit) = match check.rule {
        "min" => ("score", format!("{:.4}", check.limit)),
        "max_drop_rel" => ("drop", format!("{:.1} % of the baseline", 100.0 * check.limit)),
        _ => ("drop", format!("{:.4}", check.limit)),
    };
    let (broken, kept) = if check.rule == "min" { ("below", "at least") } else { ("more than", "at most") };
    let said = format!("{what} {:.4} is", evidence.value);
    if check.p_fail <= check.alpha {
        check.verdict = Verdict::Fail;
        check.reason = format!("{said} shown to be {broken} {limit} (p = {})", p_text(check.p_fail));
    } else if evidence.p_kept <= check.alpha {
        check.verdict = Verdict::Pass;
        check.reason = format!("{said} shown to be {kept} {limit} (p = {})", p_text(evidence.p_kept));
    } else {
        check.verdict = Verdict::Inconclusive;
        // A failure has to stand against the whole family, a pass only for itself.
        let alpha = if evidence.excess > 0.0 { check.alpha / family } else { check.alpha };
        check.documents_needed = evidence.documents_needed(alpha);
        let needed = match check.documents_needed {
            Some(documents) => format!("about {documents} documents would decide"),
            None => "it sits at the limit, which no number of documents would decide".to_owned(),
        };
        check.reason =
            format!("{said} not shown to be {broken} or {kept} {limit} on {} documents; {needed}", evidence.documents);
    }
}

/// A p-value in words.
#[must_use]
pub fn p_text(p: f64) -> String {
    if p < 1e-4 { "<0.0001".to_owned() } else { format!("{p:.4}") }
}
