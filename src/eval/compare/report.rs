//! The comparison of two results as data: per task, per group and per role.

use std::collections::BTreeMap;

use super::Range;
use super::comparison::{Comparison, GroupComparison, TaskComparison};
use super::paired::{DRAWS, bootstrap};
use super::pairing::{CompareError, Pairing, pair};
use super::plain::compare_scores;
use crate::error::Result;
use crate::eval::interval::LEVEL;
use crate::eval::results::RunResults;
use crate::stats::resample::Resampling;

/// A task to compare, and the metric where it is not the baseline's first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub task: String,
    /// `"<metric>"` or `"<metric>,<slot>"`.
    pub metric: Option<String>,
}

/// Compares all tasks that both results hold, or the named ones.
///
/// # Errors
/// Files that lack what is needed; with `strict`, results that were not asked the same way.
pub(crate) fn compare(
    baseline: &RunResults,
    candidate: &RunResults,
    only: &[String],
    metric: Option<&str>,
    strict: bool,
    resampling: Resampling,
) -> Result<Comparison> {
    let names: Vec<String> = if only.is_empty() {
        let shared = |name: &String| baseline.tasks.iter().any(|task| task.name == *name);
        candidate.tasks.iter().map(|task| task.name.clone()).filter(shared).collect()
    } else {
        only.to_vec()
    };
    let wanted = |task| Wanted { task, metric: metric.map(str::to_owned) };
    compare_each(baseline, candidate, &names.into_iter().map(wanted).collect::<Vec<_>>(), strict, resampling)
}

/// [`compare`] with a metric for each task.
///
/// # Errors
/// As [`compare`].
pub(crate) fn compare_each(
    baseline: &RunResults,
    candidate: &RunResults,
    wanted: &[Wanted],
    strict: bool,
    resampling: Resampling,
) -> Result<Comparison> {
    if wanted.is_empty() {
        let (baseline, candidate) = (baseline.path.clone(), candidate.path.clone());
        return Err(CompareError::NoTask { baseline, candidate }.into());
    }
    let (mut tasks, mut pairings) = (Vec::new(), Vec::new());
    for Wanted { task: name, metric } in wanted {
        let metric = metric.as_deref();
        let lacking = [("baseline", baseline), ("candidate", candidate)]
            .into_iter()
            .find(|(_, run)| run.task(name).is_ok() && !run.has_samples(name));
        if let Some((side, _)) = lacking {
            let missing = format!("the {side} has no samples");
            tasks.push(compare_scores(baseline, candidate, name, metric, strict, &missing)?);
        } else {
            let pairing = pair(baseline, candidate, name, metric, strict)?;
            tasks.push(task(&pairing, resampling));
            pairings.push(pairing);
        }
    }
    let mut notes = Vec::new();
    let mut compared = Vec::new();
    for (name, members) in groups(candidate, &pairings) {
        match no_common_scale(&members) {
            Some(metrics) => notes.push(format!("{name}: no mean, as its tasks have no common scale ({metrics})")),
            None => compared.push(group(name, &members, resampling)),
        }
    }
    Ok(Comparison {
        baseline: baseline.path.display().to_string(),
        candidate: candidate.path.display().to_string(),
        seed: resampling.seed,
        draws: DRAWS,
        level: LEVEL,
        tasks,
        groups: compared,
        notes,
    })
}

/// The metrics of tasks whose mean would mean nothing: some better when greater and some when less, or some
/// bounded and some not.
fn no_common_scale(members: &[&Pairing]) -> Option<String> {
    let scale = |pairing: &&Pairing| {
        let metric = pairing.key.split_once(',').map_or(pairing.key.as_str(), |(metric, _)| metric);
        (Range::of_documents(metric, &pairing.tally), pairing.tally.higher_is_better)
    };
    let (first, up) = members.first().map(scale)?;
    let differs = |(range, rises): (Option<Range>, bool)| !Range::averages_with(first, range) || rises != up;
    let list = || members.iter().map(|p| format!("{} {}", p.task, p.key)).collect::<Vec<_>>().join(", ");
    members.iter().map(scale).any(differs).then(list)
}

/// Groups of the file and roles, each with the pairings below it; those of a single task say nothing new.
fn groups<'a>(candidate: &RunResults, pairings: &'a [Pairing]) -> Vec<(String, Vec<&'a Pairing>)> {
    let mut found: Vec<(String, Vec<&Pairing>)> = Vec::new();
    for (name, tasks) in candidate.groups() {
        found.push((name, pairings.iter().filter(|pairing| tasks.contains(&pairing.task)).collect()));
    }
    let mut roles: BTreeMap<&str, Vec<&Pairing>> = BTreeMap::new();
    for pairing in pairings {
        if let Some(role) = &pairing.role {
            roles.entry(role).or_default().push(pairing);
        }
    }
    found.extend(roles.into_iter().map(|(role, members)| (format!("role:{role}"), members)));
    found.retain(|(_, members)| members.len() > 1);
    found
}

fn task(pairing: &Pairing, resampling: Resampling) -> TaskComparison {
    let tally = &pairing.tally;
    let (baseline, candidate) = tally.scores(tally.counts());
    let difference = |counts: &[Vec<u64>]| {
        let (baseline, candidate) = counts.first().map_or((0.0, 0.0), |counts| tally.scores(counts));
        candidate - baseline
    };
    let resampled = bootstrap(&[tally], DRAWS, resampling, &["compare", &pairing.task, &pairing.key], difference);
    let tail = (1.0 - LEVEL) / 2.0;
    TaskComparison {
        task: pairing.task.clone(),
        metric: pairing.key.clone(),
        role: pairing.role.clone(),
        documents: Some(tally.documents()),
        baseline,
        candidate,
        difference: candidate - baseline,
        interval: Some([resampled.bound(tail), resampled.bound(1.0 - tail)]),
        paired: true,
        note: None,
        mcnemar_p: tally.discordant().map(crate::stats::discordant::Discordant::mcnemar),
        lost: pairing.flips.iter().filter(|flip| flip.lost).count(),
        won: pairing.flips.iter().filter(|flip| !flip.lost).count(),
        mismatches: pairing.mismatches.clone(),
        flips: pairing.flips.clone(),
    }
}

fn group(name: String, members: &[&Pairing], resampling: Resampling) -> GroupComparison {
    let tallies: Vec<_> = members.iter().map(|pairing| &pairing.tally).collect();
    let means = |counts: &[Vec<u64>]| {
        let sums = tallies.iter().zip(counts).fold((0.0, 0.0), |sums, (tally, counts)| {
            let (baseline, candidate) = tally.scores(counts);
            (sums.0 + baseline, sums.1 + candidate)
        });
        (sums.0 / tallies.len() as f64, sums.1 / tallies.len() as f64)
    };
    let whole: Vec<Vec<u64>> = tallies.iter().map(|tally| tally.counts().to_vec()).collect();
    let (baseline, candidate) = means(&whole);
    let resampled = bootstrap(&tallies, DRAWS, resampling, &["compare", &name], |counts| {
        let (baseline, candidate) = means(counts);
        candidate - baseline
    });
    let tail = (1.0 - LEVEL) / 2.0;
    GroupComparison {
        name,
        tasks: members.iter().map(|pairing| pairing.task.clone()).collect(),
        baseline,
        candidate,
        difference: candidate - baseline,
        interval: [resampled.bound(tail), resampled.bound(1.0 - tail)],
    }
}
