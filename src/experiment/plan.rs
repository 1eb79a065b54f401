//! Plan of a run: steps that would run, with reasons, after comparing the graph with what finished before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::error::ExperimentError;
use super::fingerprint::{Fingerprint, fingerprints};
use super::graph::{Graph, Step};
use super::state::State;
use crate::error::Result;
use crate::event::CancelFlag;
use crate::storage::hash::HashCache;
use crate::suggest::nearest;

/// Forces every step.
pub(crate) const ALL: &str = "all";

/// The decision about every step of a graph, in their order.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// One entry a step.
    pub steps: Vec<PlannedStep>,
    /// Inputs that were not found, with the steps that run and need them.
    pub missing: Vec<String>,
}

/// The decision about one step.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedStep {
    pub step: String,
    /// Whether it runs.
    pub run: bool,
    /// Whether that is because the user named it.
    #[serde(skip)]
    pub forced: bool,
    /// Reason why it runs or does not.
    pub why: String,
    /// Expected seconds; `None` is unknown, and 0 for a step that is skipped.
    pub seconds: Option<f64>,
    /// Source of the estimate.
    pub estimate: &'static str,
    #[serde(skip)]
    pub fingerprint: Fingerprint,
}

/// Compares a graph with the records of an output folder. A step runs when it never ran, when
/// any of its dependencies changed, when its record or its outputs are damaged or lost, when it is forced, or when a step
/// that it needs runs.
///
/// # Errors
/// A forced step that does not exist, files that can't be read, `Cancelled`.
pub fn plan(
    graph: &Graph,
    state: &State,
    forced: &[String],
    cache: &mut HashCache,
    cancel: &CancelFlag,
) -> Result<Plan> {
    if let Some(name) = forced.iter().find(|name| *name != ALL && graph.step(name).is_none()) {
        let known: Vec<String> = graph.steps.iter().map(|step| step.name.clone()).collect();
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let nearest = nearest(name, &names).map(str::to_owned);
        return Err(ExperimentError::NoStep { name: name.clone(), nearest, known }.into());
    }
    let prints = fingerprints(graph, cache, cancel)?;
    let seconds = typical_seconds(graph, state);
    let mut running: BTreeSet<&str> = BTreeSet::new();
    let (mut steps, mut missing) = (Vec::new(), Vec::new());
    for (step, fingerprint) in graph.steps.iter().zip(prints) {
        let force = forced.iter().any(|name| name == ALL || *name == step.name);
        let reason = match reason(step, &fingerprint, state, force, &running) {
            None => state.record(&step.name).map_or(Ok(None), |record| state.damage(record, cache, cancel))?,
            reason => reason,
        };
        let run = reason.is_some();
        if run {
            running.insert(&step.name);
            for input in step.inputs.iter().filter(|input| input.path.is_none()) {
                let text = format!("{} was not found", input.label);
                if !missing.contains(&text) {
                    missing.push(text);
                }
            }
        }
        let (seconds, estimate) = if run { estimate(step, state, &seconds) } else { (Some(0.0), "") };
        let why = reason.unwrap_or_else(|| "unchanged".to_owned());
        steps.push(PlannedStep { step: step.name.clone(), run, forced: force, why, seconds, estimate, fingerprint });
    }
    Ok(Plan { steps, missing })
}

fn reason(
    step: &Step,
    fingerprint: &Fingerprint,
    state: &State,
    force: bool,
    running: &BTreeSet<&str>,
) -> Option<String> {
    if force {
        return Some("forced".to_owned());
    }
    let Some(record) = state.record(&step.name) else {
        let damaged = state.damaged(&step.name);
        return Some(damaged.map_or_else(|| "never run".to_owned(), |file| format!("record damaged: {file}")));
    };
    let before: Vec<&str> = step.needs.iter().map(String::as_str).filter(|need| running.contains(need)).collect();
    if record.fingerprint != fingerprint.digest {
        let mut changes = fingerprint.changes(&record.parts);
        if !before.is_empty() {
            changes.retain(|change| !change.starts_with("dependency changed"));
            changes.push(runs_again(&before));
        }
        return Some(changes.join("; "));
    }
    (!before.is_empty()).then(|| runs_again(&before))
}

fn runs_again(before: &[&str]) -> String {
    match before {
        [only] => format!("`{only}` runs"),
        _ => format!("`{}` and {} more run", before[0], before.len() - 1),
    }
}

/// The median time of the recorded steps of each kind.
fn typical_seconds(graph: &Graph, state: &State) -> BTreeMap<&'static str, f64> {
    let mut times: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for step in &graph.steps {
        if let Some(record) = state.record(&step.name) {
            times.entry(step.action.kind()).or_default().push(record.seconds);
        }
    }
    times
        .into_iter()
        .map(|(kind, mut times)| {
            times.sort_by(f64::total_cmp);
            (kind, times[times.len() / 2])
        })
        .collect()
}

fn estimate(step: &Step, state: &State, typical: &BTreeMap<&'static str, f64>) -> (Option<f64>, &'static str) {
    let kind = step.action.kind();
    if let Some(record) = state.record(&step.name) {
        (Some(record.seconds), "last run")
    } else if let Some(seconds) = typical.get(kind) {
        (Some(*seconds), "steps like it")
    } else if ["select", "gate", "report", "task-vectors"].contains(&kind) {
        (Some(1.0), "estimate")
    } else {
        (None, "unknown")
    }
}

impl Plan {
    /// Steps that run.
    pub fn running(&self) -> impl Iterator<Item = &PlannedStep> {
        self.steps.iter().filter(|step| step.run)
    }

    /// The plan as text, a line a step.
    #[must_use]
    pub fn render(&self) -> String {
        let width = self.steps.iter().map(|step| step.step.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for step in &self.steps {
            let does = if step.run { "run " } else { "skip" };
            let time = match (step.run, step.seconds) {
                (false, _) => String::new(),
                (true, Some(seconds)) => format!("  ~{} ({})", duration(seconds), step.estimate),
                (true, None) => "  time unknown".to_owned(),
            };
            let _ = writeln!(text, "{does}  {:width$}  {}{time}", step.step, step.why);
        }
        let runs = self.running().count();
        let known: f64 = self.running().filter_map(|step| step.seconds).sum();
        let unknown = self.running().filter(|step| step.seconds.is_none()).count();
        let time = match (runs, unknown) {
            (0, _) => "nothing to do".to_owned(),
            (_, 0) => format!("about {}", duration(known)),
            _ => format!("about {} and {unknown} steps of unknown time", duration(known)),
        };
        let _ = writeln!(text, "{runs} of {} steps run: {time}", self.steps.len());
        for missing in &self.missing {
            let _ = writeln!(text, "missing: {missing}");
        }
        text
    }
}

/// A time in words.
#[must_use]
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.0} s")
    } else if seconds < 3600.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}
