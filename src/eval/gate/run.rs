//! Applying a gate to two results.

use serde::Serialize;

use super::check::Check;
use super::checks::{check_groups, check_task};
use super::config::{GateConfig, TaskRules};
use super::decision::{Verdict, holm};
use super::limits::{check_limits, check_roles};
use crate::error::Result;
use crate::eval::compare::CompareError;
use crate::eval::compare::pairing::{Flip, pair};
use crate::eval::results::RunResults;
use crate::parallel::Workers;
use crate::stats::resample::Resampling;

/// Verdicts of a gate, with the evidence.
#[derive(Debug, Clone, Serialize)]
pub struct GateReport {
    /// The baseline's results file.
    pub baseline: String,
    /// The candidate's.
    pub candidate: String,
    /// The worst verdict of all checks.
    pub verdict: Verdict,
    /// The rule that holds, in one line.
    pub rule: String,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Checks: tasks in the candidate's order, then groups.
    pub checks: Vec<Check>,
    /// Flipped documents of the checked tasks, the worst losses first.
    pub flips: Vec<(String, Vec<Flip>)>,
}

/// Decides.
///
/// # Errors
/// Results that lack what is needed or were not asked the same way.
pub(crate) fn decide(
    config: &GateConfig,
    baseline: &RunResults,
    candidate: &RunResults,
    workers: Workers,
) -> Result<GateReport> {
    check_roles(config, baseline, candidate)?;
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
    check_limits(config, &pairings)?;
    let resampling = Resampling { seed: config.seed, workers };
    let mut checks = Vec::new();
    for (pairing, rules) in &pairings {
        check_task(config, pairing, rules, resampling, &mut checks);
    }
    check_groups(config, candidate, &pairings, resampling, &mut checks)?;
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
        rule: config.describe(),
        seed: config.seed,
        checks,
        flips: pairings.into_iter().map(|(pairing, _)| (pairing.task, pairing.flips)).collect(),
    })
}

/// The tasks to check. A task that the baseline has and the candidate lacks is not passed over.
fn task_names(config: &GateConfig, baseline: &RunResults, candidate: &RunResults) -> Result<Vec<String>> {
    let named: Vec<String> = if config.only.is_empty() {
        let tasks = candidate.tasks.iter().chain(&baseline.tasks).map(|task| task.name.clone());
        tasks.chain(config.tasks.iter().map(|rules| rules.task.clone())).collect()
    } else {
        config.only.clone()
    };
    // A name that neither result knows is a slip, even where `only` leaves it out.
    for TaskRules { task, .. } in &config.tasks {
        baseline.task(task).or_else(|_| candidate.task(task))?;
    }
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
            None if evidence.small_class.is_some() => "no practical number of documents would decide".to_owned(),
            None => "it sits at the limit, which no number of documents would decide".to_owned(),
        };
        let small = evidence.small_class.map_or_else(String::new, |class| {
            format!(" (label {} has {} of them, too few to say more)", class.label, class.documents)
        });
        check.reason = format!(
            "{said} not shown to be {broken} or {kept} {limit} on {} documents{small}; {needed}",
            evidence.documents
        );
    }
}

/// A p-value in words.
#[must_use]
pub(crate) fn p_text(p: f64) -> String {
    if p < 1e-4 { "<0.0001".to_owned() } else { format!("{p:.4}") }
}
