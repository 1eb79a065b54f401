//! Two results side by side: which documents they share, and what makes them incomparable.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::PairedTally;
use crate::error::{Diagnose, ErrorKind};
use crate::eval::metrics::{DocumentValue, Statistic, find};
use crate::eval::results::{ResultsError, RunResults, Sample, TaskResults};

/// Reasons why two results cannot be compared.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum CompareError {
    #[error("task `{task}` was not asked the same way in both results: {}", mismatches.join("; "))]
    Mismatch { task: String, mismatches: Vec<String> },
    #[error("the results share no document of task `{task}`")]
    NoShared { task: String },
    #[error("the results share no task")]
    NoTask { baseline: PathBuf, candidate: PathBuf },
    #[error("task `{task}` has no metric that both results hold document by document")]
    NoMetric { task: String },
    #[error("document {doc_id} of task `{task}` in {} has no usable value of `{metric}`", path.display())]
    Value { task: String, metric: String, doc_id: i64, path: PathBuf },
}

impl Diagnose for CompareError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Value { .. } => ErrorKind::Input,
            _ => ErrorKind::Mismatch,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Mismatch { .. } => vec![
                "evaluate both models with the same task files, template, shots, seed and limit; a score only means something beside one that was asked the same way".to_owned(),
            ],
            Self::NoMetric { .. } => vec!["name a metric with --metric".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// A task of two results, paired.
#[derive(Debug, Clone)]
pub(crate) struct Pairing {
    pub task: String,
    /// `"<metric>,<slot>"` in the candidate.
    pub key: String,
    /// `seen`, `unseen` or `general`.
    pub role: Option<String>,
    /// Counted pairs.
    pub tally: PairedTally,
    /// Documents that only one side gets right.
    pub flips: Vec<Flip>,
    /// Differences in how the results were made, where they were allowed.
    pub mismatches: Vec<String>,
    /// Whether both models gave the very same answers, log-probabilities included, or are the same.
    pub identical: bool,
}

/// A document that one side answers rightly and the other wrongly.
#[derive(Debug, Clone, Serialize)]
pub struct Flip {
    /// Number in the split.
    pub doc_id: i64,
    pub doc_hash: String,
    /// Whether the candidate is the wrong one.
    pub lost: bool,
    /// The right answer.
    pub target: String,
    /// The baseline's answer.
    pub baseline: String,
    /// The candidate's answer.
    pub candidate: String,
    /// Log-probability by which the wrong side prefers its answer to the other's (0 for texts).
    pub margin: f64,
    /// The end of the prompt.
    pub prompt: String,
}

/// Pairs a task of two results by document. With `strict`, any difference in how they were asked is an
/// error; without, differences are noted and the shared documents compared.
///
/// # Errors
/// Files that lack what is needed, results that cannot be compared.
pub(crate) fn pair(
    baseline: &RunResults,
    candidate: &RunResults,
    task: &str,
    metric: Option<&str>,
    strict: bool,
) -> crate::error::Result<Pairing> {
    let (a, b) = (baseline.task(task)?, candidate.task(task)?);
    let (left, right) = (baseline.samples(task)?, candidate.samples(task)?);
    let (key_a, key_b) = keys(baseline, candidate, a, b, metric)?;
    let (name, slot_a) = split(&key_a);
    let (_, slot_b) = split(&key_b);
    let (left, right) = (by_document(&left, slot_a), by_document(&right, slot_b));
    for (run, documents) in [(baseline, left.len()), (candidate, right.len())] {
        complete(run, task, documents)?;
    }
    let shared: Vec<(&Sample, &Sample)> = right.iter().filter_map(|(key, b)| Some((*left.get(key)?, *b))).collect();
    let unpaired = left.len() + right.len() - 2 * shared.len();
    let other = shared.iter().filter(|(a, b)| a.prompt_hash != b.prompt_hash).count();
    let mut mismatches = settings(baseline, candidate, task, unpaired == 0 && other == 0);
    if unpaired > 0 {
        mismatches.push(format!(
            "documents: {} in the baseline, {} in the candidate, {} shared",
            left.len(),
            right.len(),
            shared.len()
        ));
    }
    if other > 0 {
        mismatches.push(format!("prompts: {other} of {} documents were asked differently", shared.len()));
    }
    if strict && !mismatches.is_empty() {
        return Err(CompareError::Mismatch { task: task.to_owned(), mismatches }.into());
    }
    if shared.is_empty() {
        return Err(CompareError::NoShared { task: task.to_owned() }.into());
    }
    let pixiu = slot_b.starts_with("pixiu-gen");
    let statistic = match find(name) {
        Ok(info) if info.statistic == Statistic::Mcc && pixiu => Statistic::MccPixiu,
        Ok(info) => info.statistic,
        // A metric of the harness that is not ours: a mean of numbers.
        Err(_) => Statistic::Mean,
    };
    let value = |sample: &Sample, run: &RunResults| {
        sample.line.get(name).and_then(|value| DocumentValue::from_json(statistic, value)).ok_or_else(|| {
            let path = run.path.clone();
            CompareError::Value { task: task.to_owned(), metric: name.to_owned(), doc_id: sample.doc_id, path }
        })
    };
    let (mut pairs, mut flips, mut identical) = (Vec::with_capacity(shared.len()), Vec::new(), true);
    let mut choices = declared_choices(candidate, task);
    for (a, b) in shared {
        choices = choices.max(logprobs(b).len());
        let values = (value(a, baseline)?, value(b, candidate)?);
        if let (Some(was), Some(is)) = (values.0.is_correct(), values.1.is_correct())
            && was != is
        {
            flips.push(flip(a, b, was));
        }
        identical &= a.line.get("resps") == b.line.get("resps") && scored(a);
        pairs.push(values);
    }
    flips.sort_by(|a, b| b.lost.cmp(&a.lost).then(b.margin.total_cmp(&a.margin)).then(a.doc_id.cmp(&b.doc_id)));
    let weights = |run: &RunResults| run.value(&["billon", "weights_sha256"]).cloned();
    let same_model = weights(baseline).is_some() && weights(baseline) == weights(candidate);
    Ok(Pairing {
        task: task.to_owned(),
        key: key_b,
        role: b.role.clone().or_else(|| a.role.clone()),
        tally: PairedTally::with_choices(statistic, b.higher_is_better(name), &pairs, choices),
        flips,
        mismatches,
        identical: identical || same_model,
    })
}

/// As many samples as the results count: a file that was cut short is no smaller evaluation.
fn complete(run: &RunResults, task: &str, found: usize) -> Result<(), ResultsError> {
    let expected = run.value(&["n-samples", task, "effective"]).and_then(Value::as_u64);
    match expected.filter(|expected| (found as u64) < *expected) {
        Some(expected) => {
            Err(ResultsError::Incomplete { task: task.to_owned(), path: run.path.clone(), found, expected })
        }
        None => Ok(()),
    }
}

/// Prompt settings on which the files disagree. With `same_prompts` every document was asked with the same
/// text: then what only one of the files records is bookkeeping.
pub(super) fn settings(baseline: &RunResults, candidate: &RunResults, task: &str, same_prompts: bool) -> Vec<String> {
    let shots = ["n-shot", task];
    let mut checks: Vec<(&str, Vec<&str>)> = vec![
        ("protocol", vec!["billon", "tasks", task, "protocol"]),
        ("chat template", vec!["chat_template_sha"]),
        ("system instruction", vec!["system_instruction_sha"]),
        ("few-shot count", shots.to_vec()),
        ("task version", vec!["versions", task]),
    ];
    let either = |keys: &[&str]| [baseline, candidate].into_iter().any(|run| run.value(keys).is_some());
    let any_shots = |run: &RunResults| run.value(&shots).and_then(Value::as_f64).unwrap_or(0.0) > 0.0;
    if any_shots(baseline) || any_shots(candidate) {
        checks.push(("few-shot seed", vec!["config", "fewshot_seed"]));
        // Without a chat template there are no turns, whatever a file says of them (lm-eval: true, ours: null).
        if either(&["chat_template_sha"]) || either(&["chat_template"]) {
            checks.push(("few-shot turns", vec!["fewshot_as_multiturn"]));
        }
    }
    let ours = |run: &RunResults| run.top.contains_key("billon");
    // What older and other harnesses do not record.
    let recorded = |keys: &[&str]| [baseline, candidate].iter().all(|run| run.value(keys).is_some());
    let may_be_absent = ["few-shot seed", "few-shot count", "few-shot turns", "task version"];
    let mut found = Vec::new();
    for (what, keys) in checks {
        // The harness knows no protocols: then the filter slot is all there is to compare.
        if what == "protocol" && !(ours(baseline) && ours(candidate)) {
            continue;
        }
        if same_prompts && may_be_absent.contains(&what) && !recorded(&keys) {
            continue;
        }
        let (a, b) = (baseline.value(&keys), candidate.value(&keys));
        if !same_value(a, b) {
            let show = |value: Option<&Value>| value.map_or_else(|| "none".to_owned(), |v| shorten(&plain(v), 20));
            found.push(format!("{what}: {} in the baseline, {} in the candidate", show(a), show(b)));
        }
    }
    found
}

/// Equal, where 1 and 1.0 are one number, and so is a number that is written as a text.
fn same_value(a: Option<&Value>, b: Option<&Value>) -> bool {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    match (a, b) {
        (Some(a), Some(b)) => a == b || number(a).is_some_and(|a| Some(a) == number(b)),
        (a, b) => a == b,
    }
}

/// Choices of every document, where the task's settings list them.
fn declared_choices(run: &RunResults, task: &str) -> usize {
    run.value(&["configs", task, "doc_to_choice"]).and_then(Value::as_array).map_or(0, Vec::len)
}

/// The keys of the metric in both files: the named one, else the baseline's first. The candidate must have it,
/// and it must be a number on both sides. The harness's `none` and our `choice-ll` are the same.
pub(super) fn keys(
    baseline: &RunResults,
    candidate: &RunResults,
    a: &TaskResults,
    b: &TaskResults,
    metric: Option<&str>,
) -> Result<(String, String), ResultsError> {
    let wanted = |key: &str| metric.is_none_or(|metric| key == metric || split(key).0 == metric);
    let missing = |task: &TaskResults, run: &RunResults, metric: &str| ResultsError::NoMetric {
        task: task.name.clone(),
        metric: metric.to_owned(),
        path: run.path.clone(),
        known: task.metrics.clone(),
    };
    let in_candidate = |key: &str| {
        let (name, slot) = split(key);
        let alias = match slot {
            "none" => "choice-ll",
            "choice-ll" => "none",
            slot => slot,
        };
        let names = [key.to_owned(), format!("{name},{alias}")];
        names.into_iter().find(|key| b.metrics.contains(key))
    };
    let mut tried = a.metrics.iter().filter(|key| wanted(key));
    let Some(first) = tried.next() else {
        // A slot may be named as the candidate calls it.
        let named = metric.filter(|metric| b.metrics.iter().any(|key| key == metric));
        let alias = named.and_then(|metric| metric.split_once(',')).map(|(name, _)| name);
        let found = alias.and_then(|name| a.metrics.iter().find(|key| split(key).0 == name));
        let pair = found.zip(named).filter(|(own, named)| in_candidate(own).as_deref() == Some(*named));
        return match pair {
            Some((own, named)) => numbers(baseline, candidate, a, b, own, named),
            None => Err(missing(a, baseline, metric.unwrap_or("of any name"))),
        };
    };
    // A metric that is named without its slot may stand under several of them.
    let named_without_slot = metric.is_some_and(|metric| !metric.contains(','));
    let shared = std::iter::once(first).chain(tried.filter(|_| named_without_slot));
    match shared.into_iter().find_map(|key| Some((key, in_candidate(key)?))) {
        Some((own, other)) => numbers(baseline, candidate, a, b, own, &other),
        None if metric.is_some() => Err(missing(b, candidate, first)),
        None => Err(ResultsError::LacksMetric {
            task: b.name.clone(),
            metric: first.clone(),
            path: candidate.path.clone(),
            known: b.metrics.clone(),
        }),
    }
}

/// The keys, if both scores are numbers.
fn numbers(
    baseline: &RunResults,
    candidate: &RunResults,
    a: &TaskResults,
    b: &TaskResults,
    own: &str,
    other: &str,
) -> Result<(String, String), ResultsError> {
    for (task, run, key) in [(a, baseline, own), (b, candidate, other)] {
        if !task.scores.iter().any(|(known, _)| known == key) {
            return Err(ResultsError::NotANumber {
                task: task.name.clone(),
                metric: key.to_owned(),
                path: run.path.clone(),
                others: task.scores.iter().map(|(key, _)| key.clone()).collect(),
            });
        }
    }
    Ok((own.to_owned(), other.to_owned()))
}

pub(super) fn split(key: &str) -> (&str, &str) {
    key.split_once(',').unwrap_or((key, "none"))
}

/// Samples of a slot by document; copies of a document are distinguished by their order.
fn by_document<'a>(samples: &'a [Sample], slot: &str) -> BTreeMap<(&'a str, &'a str, usize), &'a Sample> {
    let mut map = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.slot == slot) {
        let mut copy = 0;
        while map.contains_key(&(sample.doc_hash.as_str(), sample.target_hash.as_str(), copy)) {
            copy += 1;
        }
        map.insert((sample.doc_hash.as_str(), sample.target_hash.as_str(), copy), sample);
    }
    map
}

/// Log-probabilities of a sample's choices.
fn logprobs(sample: &Sample) -> Vec<f64> {
    let list = sample.line.get("filtered_resps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    // Texts since 0.4.3, numbers before.
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    list.iter().filter_map(|pair| number(pair.as_array()?.first()?)).collect()
}

fn scored(sample: &Sample) -> bool {
    !logprobs(sample).is_empty()
}

fn flip(a: &Sample, b: &Sample, was_right: bool) -> Flip {
    let (left, right) = (logprobs(a), logprobs(b));
    let best = |list: &[f64]| crate::eval::metrics::choice::argmax(list.iter().copied());
    // The wrong side's preference for its own answer over the right one that the other side gave.
    let (right_side, wrong_side) = if was_right { (&left, &right) } else { (&right, &left) };
    let margin = best(right_side)
        .zip(best(wrong_side))
        .and_then(|(good, bad)| Some(wrong_side.get(bad)? - wrong_side.get(good)?))
        .unwrap_or(0.0);
    let request = |sample: &Sample, index: usize, argument: &str| {
        sample.line.get("arguments")?.get(format!("gen_args_{index}"))?.get(argument).map(plain)
    };
    let answer = |sample: &Sample, list: &[f64]| match best(list) {
        Some(index) => request(sample, index, "arg_1").map_or_else(String::new, |text| text.trim().to_owned()),
        None => shorten(&sample.line.get("filtered_resps").and_then(|r| r.get(0)).map_or_else(String::new, plain), 80),
    };
    let prompt = request(b, 0, "arg_0").unwrap_or_else(String::new);
    Flip {
        doc_id: b.doc_id,
        doc_hash: b.doc_hash.clone(),
        lost: was_right,
        target: b.line.get("target").map_or_else(String::new, plain),
        baseline: answer(a, &left),
        candidate: answer(b, &right),
        margin,
        prompt: tail(&prompt, 240),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most).chain(['…']).collect() }
}

fn tail(text: &str, most: usize) -> String {
    let skip = text.chars().count().saturating_sub(most);
    if skip == 0 { text.to_owned() } else { std::iter::once('…').chain(text.chars().skip(skip)).collect() }
}
