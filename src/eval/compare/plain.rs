//! Scores without their documents, side by side: what a results file alone allows.

use serde_json::Value;

use super::comparison::TaskComparison;
use super::pairing::{CompareError, keys, settings, split};
use crate::error::Result;
use crate::eval::interval::LEVEL;
use crate::eval::results::RunResults;
use crate::stats::distribution::normal_quantile;

/// Compares the scores of a task. The interval is that of two independent samples, from the standard errors that
/// the files state, and so wider than that of the same documents; without errors there is none.
pub(super) fn compare_scores(
    baseline: &RunResults,
    candidate: &RunResults,
    task: &str,
    metric: Option<&str>,
    strict: bool,
    missing: &str,
) -> Result<TaskComparison> {
    let (a, b) = (baseline.task(task)?, candidate.task(task)?);
    let (key_a, key_b) = keys(baseline, candidate, a, b, metric)?;
    let documents = |run: &RunResults| {
        let count = run.value(&["n-samples", task]);
        count.and_then(|count| count.get("effective").or(Some(count)).and_then(Value::as_u64))
    };
    let mut mismatches = settings(baseline, candidate, task, true);
    let (left, right) = (documents(baseline), documents(candidate));
    if let (Some(left), Some(right)) = (left, right)
        && left != right
    {
        mismatches.push(format!("documents: {left} in the baseline, {right} in the candidate"));
    }
    // A hash of all prompts and documents, which the harness writes where it logs samples.
    let hash = |run: &RunResults| run.value(&["task_hashes", task]).and_then(Value::as_str).map(str::to_owned);
    if let (Some(left), Some(right)) = (hash(baseline), hash(candidate))
        && left != right
    {
        mismatches.push("prompts or documents: their hashes differ".to_owned());
    }
    if strict && !mismatches.is_empty() {
        return Err(CompareError::Mismatch { task: task.to_owned(), mismatches }.into());
    }
    let score =
        |list: &[(String, f64)], key: &str| list.iter().find(|(known, _)| known == key).map(|(_, score)| *score);
    let (Some(from), Some(to)) = (score(&a.scores, &key_a), score(&b.scores, &key_b)) else {
        return Err(CompareError::NoMetric { task: task.to_owned() }.into());
    };
    let errors = a.standard_errors.get(&key_a).zip(b.standard_errors.get(&key_b));
    let half = errors.map(|(a, b)| normal_quantile(f64::midpoint(1.0, LEVEL)) * a.hypot(*b));
    Ok(TaskComparison {
        task: task.to_owned(),
        role: b.role.clone().or_else(|| a.role.clone()),
        metric: key_b.clone(),
        documents: left.or(right),
        baseline: from,
        candidate: to,
        difference: to - from,
        interval: half.map(|half| [to - from - half, to - from + half]),
        paired: false,
        note: Some(format!(
            "plain scores of `{}`: {missing}; {}",
            split(&key_b).0,
            if half.is_some() {
                "the interval is that of two unrelated samples, from the standard errors in the files"
            } else {
                "the files state no standard errors, so there is no interval"
            }
        )),
        mcnemar_p: None,
        lost: 0,
        won: 0,
        mismatches,
        flips: Vec::new(),
    })
}
