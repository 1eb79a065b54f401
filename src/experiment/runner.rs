//! Running a plan: steps in order, finished ones remembered at once.
//!
//! A step that fails ends the run. What was finished before stays, so the same command goes on from
//! there.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::error::ExperimentError;
use super::graph::{Action, Graph, Step};
use super::output::{CandidateScore, Selected, StepOutput};
use super::plan::plan;
use super::row::Row;
use super::schema::Experiment;
use super::state::{FORMAT, Record, State};
use super::step_runner::{Context, ModelUnderTest, StepResult, StepRunner};
use crate::error::{ErrorKind, Result};
use crate::event::{Event, Progress};
use crate::storage::folder_lock::FolderLock;
use crate::storage::hash::HashCache;
use crate::storage::publish::{mark_folder, refuse_taken, sweep_leftovers};

/// Files of the report.
const REPORTS: [&str; 3] = ["report.html", "report.json", "report.md"];
/// Files and folders that a run makes.
const NAMES: [&str; 9] =
    ["report.html", "report.json", "report.md", "gates", "merges", "results", "specialists", "steps", "validation"];

/// Choices of the user for a run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Steps that run whatever is remembered of them.
    pub force: Vec<String>,
}

/// Runs what has to run of an experiment into `out`.
///
/// # Errors
/// [`ExperimentError::Missing`] before anything runs; [`ExperimentError::Step`] naming the step that
/// failed; `Cancelled`.
pub(crate) fn run(
    experiment: &Experiment,
    out: &Path,
    options: &RunOptions,
    steps: &mut dyn StepRunner,
    progress: Progress<'_>,
) -> Result<()> {
    let graph = Graph::new(experiment)?;
    let mut cache = HashCache::open_default();
    if let Some(warning) = cache.warning() {
        progress.warn(warning);
    }
    let mut state = State::load(out)?;
    // Folders of version 0.1 are known by their records.
    if state.records().next().is_none() {
        refuse_taken(out, &NAMES)?;
    }
    let decide = |state: &State, cache: &mut HashCache| plan(&graph, state, &options.force, cache, progress.cancel);
    for warning in state.warnings() {
        progress.warn(warning);
    }
    let mut plan = decide(&state, &mut cache)?;
    if !plan.missing.is_empty() {
        return Err(ExperimentError::Missing { missing: plan.missing }.into());
    }
    let _alone = FolderLock::take(out)?;
    // Another process may have finished steps between the look and the lock.
    let now = State::load(out)?;
    if now != state {
        state = now;
        plan = decide(&state, &mut cache)?;
    }
    mark_folder(out, &REPORTS)?;
    for folder in [out.to_owned(), out.join("steps"), out.join("gates")] {
        sweep_leftovers(&folder);
    }
    let mut finished: BTreeMap<String, Record> = BTreeMap::new();
    let context = Context { experiment, graph: &graph, out, finished: &finished, forced: false, progress };
    if plan.running().any(|step| graph.step(&step.step).is_some_and(|s| matches!(s.action, Action::Train(_)))) {
        steps.check(context)?;
    }
    let count = plan.running().count();
    let mut index = 0;
    for (step, planned) in graph.steps.iter().zip(&plan.steps) {
        if let (false, Some(record)) = (planned.run, state.record(&step.name)) {
            finished.insert(step.name.clone(), record.clone());
            continue;
        }
        progress.cancel.check()?;
        progress.event(Event::StepStarted { index, count, name: step.name.clone() });
        index += 1;
        let clock = Instant::now();
        let forced = planned.forced;
        let context = Context { experiment, graph: &graph, out, finished: &finished, forced, progress };
        let failed = |error: crate::Error, finished: usize| match error.kind() {
            ErrorKind::Cancelled => error,
            _ => ExperimentError::step(&step.name, &error, finished).into(),
        };
        let done = carry_out(step, steps, context).map_err(|error| failed(error, finished.len()))?;
        let outputs = state.outputs(&step.name, &done.files, &mut cache, progress.cancel)?;
        let record = Record {
            format: FORMAT,
            step: step.name.clone(),
            fingerprint: planned.fingerprint.digest.clone(),
            parts: planned.fingerprint.parts.clone(),
            outputs,
            outcome: done.output,
            seconds: clock.elapsed().as_secs_f64(),
            finished: crate::clock::instant().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        state.finish(record.clone())?;
        finished.insert(step.name.clone(), record);
    }
    progress.event(Event::Finished);
    Ok(())
}

fn carry_out(step: &Step, steps: &mut dyn StepRunner, context: Context<'_>) -> Result<StepResult> {
    let experiment = context.experiment;
    let nothing = |merge: &str| ExperimentError::NothingToSelect { merge: merge.to_owned() };
    match &step.action {
        Action::Train(name) => match experiment.specialists.get(name) {
            Some(specialist) => steps.train(name, specialist, context),
            None => Ok(StepResult::default()),
        },
        Action::Validate { merge, candidate } => {
            let row = Row::Merge { merge: merge.clone(), candidate: Some(*candidate) };
            let candidate = context.candidate(&row).ok_or_else(|| nothing(merge))?;
            steps.evaluate(&candidate.name, &ModelUnderTest::Merged(candidate), true, context)
        }
        Action::Select(merge) => select(merge, context),
        Action::Merge(row) => {
            let name = context.graph.row_name(row);
            let candidate = context.candidate(row).ok_or_else(|| nothing(name))?;
            steps.merge(candidate, &context.merge_folder(name), context)
        }
        Action::Evaluate(row) => {
            let name = context.graph.row_name(row);
            let model = match row {
                Row::Base => ModelUnderTest::Base,
                Row::Specialist(name) => ModelUnderTest::Specialist(name),
                Row::Merge { merge, .. } if experiment.merges.get(merge).is_some_and(|merge| merge.keep) => {
                    ModelUnderTest::OnDisk(context.merge_folder(name))
                }
                Row::Merge { .. } => ModelUnderTest::Merged(context.candidate(row).ok_or_else(|| nothing(name))?),
            };
            steps.evaluate(name, &model, false, context)
        }
        Action::Gate(row) => steps.gate(context.graph.row_name(row), context),
        Action::TaskVectors => steps.task_vectors(context),
        Action::Report => steps.report(context),
    }
}

/// The candidate with the best mean score on the validation splits; the first of equals.
fn select(merge: &str, context: Context<'_>) -> Result<StepResult> {
    let candidates = context.experiment.merges.get(merge).map_or(&[][..], |merge| &merge.candidates);
    let mut best: Option<(usize, f64)> = None;
    let mut scores = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let score = context.evaluated(&format!("validate {}", candidate.name)).and_then(|evaluated| evaluated.score);
        let (name, setting) = (candidate.name.clone(), candidate.setting.clone());
        scores.push(CandidateScore { name, setting, score });
        if let Some(score) = score
            && best.is_none_or(|(_, best)| score > best)
        {
            best = Some((index, score));
        }
    }
    let (index, _) = best.ok_or_else(|| ExperimentError::NothingToSelect { merge: merge.to_owned() })?;
    let setting = candidates.get(index).map(|candidate| candidate.setting.clone());
    let selected = Selected { candidate: index, setting, scores };
    Ok(StepResult { files: Vec::new(), output: StepOutput::Selected(selected) })
}
