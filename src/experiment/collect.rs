//! From finished steps to the data of the report.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::changes::{changes, no_mean};
use super::error::ExperimentError;
use super::graph::{Action, Row};
use super::output::{CandidateScore, Gated};
use super::report::ReportData;
use super::report::data::{Curve, GateCheck, GateVerdict, PublishedTable, ReportRow, Score, Selection, TaskColumn};
use super::schema::{Experiment, Origin, Specialist};
use super::step_runner::Context;
use crate::error::Result;
use crate::eval::gate::GateReport;
use crate::eval::interval::{Part, group};
use crate::eval::results::{RunResults, TaskResults};
use crate::hub;
use crate::parallel::Workers;
use crate::stats::resample::Resampling;
use crate::yaml::write::block;

/// Path of a row's results.
///
/// # Errors
/// The row was not evaluated.
pub(crate) fn results_file(row: &str, context: Context<'_>) -> Result<PathBuf, ExperimentError> {
    let evaluated = context.evaluated(&format!("evaluate {row}"));
    let evaluated = evaluated.ok_or_else(|| ExperimentError::NotEvaluated { row: row.to_owned() })?;
    Ok(context.out.join(&evaluated.results))
}

/// Everything that the report shows.
///
/// # Errors
/// Results that can't be read or compared.
pub(crate) fn report(context: Context<'_>, workers: Workers) -> Result<ReportData> {
    let experiment = context.experiment;
    let names: Vec<&String> = context.graph.rows.iter().map(|(name, _)| name).collect();
    let mut loaded = Vec::with_capacity(names.len());
    for name in names {
        loaded.push((name.clone(), RunResults::load(&results_file(name, context)?)?));
    }
    let tasks = loaded.first().map_or_else(Vec::new, |(_, base)| columns(base, experiment));
    let rows = context.graph.rows.iter().zip(&loaded).map(|((name, row), (_, results))| {
        let cells: Vec<Option<Cell>> = tasks.iter().map(|task| cell(results, task)).collect();
        let mean = |role: &str| mean(&cells, &tasks, role);
        ReportRow {
            name: name.clone(),
            kind: kind(row, experiment).to_owned(),
            note: note(row, context),
            seen: mean("seen"),
            unseen: mean("unseen"),
            cells: cells.into_iter().map(|cell| cell.map(|cell| cell.score)).collect(),
            verdict: context.gated(name).map(|gated| gated.verdict.clone()),
            recipe: recipe(row, context),
        }
    });
    let rows = rows.collect();
    let mut forgetting = Vec::new();
    let mut notes: Vec<String> = ["seen", "unseen"].iter().filter_map(|role| no_mean(&tasks, role)).collect();
    let resampling = Resampling { seed: experiment.seed, workers };
    if let Some(((_, base), others)) = loaded.split_first() {
        for (name, results) in others {
            forgetting.push(changes(name, base, results, &tasks, resampling, &mut notes)?);
        }
    }
    Ok(ReportData {
        title: experiment.name.clone(),
        base_model: experiment.base_model.clone(),
        settings: settings(experiment),
        tasks,
        rows,
        forgetting,
        notes,
        gates: gates(context),
        selections: selections(context),
        curves: curves(context),
        task_vectors: context.task_vectors().cloned(),
        published: published(experiment),
        environment: environment(workers.threads()),
        hashes: hashes(context),
        durations: context
            .graph
            .steps
            .iter()
            .filter_map(|step| Some((step.name.clone(), context.finished.get(&step.name)?.seconds)))
            .collect(),
    })
}

/// Tasks in the order of the roles, each with the metric that is shown.
pub(super) fn columns(base: &RunResults, experiment: &Experiment) -> Vec<TaskColumn> {
    let wanted = experiment.evaluation.metric.as_deref();
    let column = |task: &TaskResults| {
        let fits = |key: &String| wanted.is_some_and(|w| key == w || key.split(',').next() == Some(w));
        let found = task.scores.iter().find(|(key, _)| fits(key)).or_else(|| task.scores.first())?;
        let documents = base.value(&["n-samples", &task.name, "effective"]).and_then(Value::as_u64).unwrap_or(0);
        let role = task.role.clone().unwrap_or_else(String::new);
        Some(TaskColumn { name: task.name.clone(), role, metric: found.0.clone(), documents })
    };
    let mut columns: Vec<TaskColumn> = base.tasks.iter().filter_map(column).collect();
    let rank = |role: &str| ["seen", "unseen", "general"].iter().position(|r| *r == role).unwrap_or(3);
    columns.sort_by_key(|task| rank(&task.role));
    columns
}

struct Cell {
    score: Score,
    standard_error: Option<f64>,
}

fn cell(results: &RunResults, column: &TaskColumn) -> Option<Cell> {
    let task = results.tasks.iter().find(|task| task.name == column.name)?;
    let value = task.scores.iter().find(|(key, _)| *key == column.metric).map(|(_, value)| *value)?;
    let interval = results.value(&["billon", "tasks", &column.name, "intervals", &column.metric]);
    let end = |key: &str| interval.and_then(|interval| interval.get(key)).and_then(Value::as_f64);
    let (metric, slot) = column.metric.split_once(',')?;
    let standard_error = results.value(&["results", &column.name, &format!("{metric}_stderr,{slot}")]);
    Some(Cell {
        score: Score { value, interval: end("low").zip(end("high")).map(|(low, high)| [low, high]) },
        standard_error: standard_error.and_then(Value::as_f64),
    })
}

/// The plain mean over the tasks of a role, where all of them were scored on one scale.
fn mean(cells: &[Option<Cell>], tasks: &[TaskColumn], role: &str) -> Option<Score> {
    if no_mean(tasks, role).is_some() {
        return None;
    }
    let of_role = cells.iter().zip(tasks).filter(|(_, task)| task.role == role);
    let parts: Option<Vec<Part>> = of_role
        .map(|(cell, task)| {
            let Cell { score, standard_error } = cell.as_ref()?;
            Some(Part { value: score.value, standard_error: *standard_error, documents: task.documents })
        })
        .collect();
    let mean = group(&parts?, false)?;
    let interval = mean.standard_error.map(|error| [mean.value - 1.96 * error, mean.value + 1.96 * error]);
    Some(Score { value: mean.value, interval })
}

fn kind(row: &Row, experiment: &Experiment) -> &'static str {
    match row {
        Row::Base => "base",
        Row::Merge { .. } => "merge",
        Row::Specialist(name) if experiment.specialists.get(name).is_some_and(Specialist::is_multi_task) => {
            "multi-task"
        }
        Row::Specialist(_) => "specialist",
    }
}

fn note(row: &Row, context: Context<'_>) -> String {
    match row {
        Row::Base => "base model".to_owned(),
        Row::Specialist(name) => {
            let learns = context.experiment.specialists[name].learns.join(", ");
            if learns.is_empty() { "specialist".to_owned() } else { format!("learns {learns}") }
        }
        Row::Merge { merge, candidate } => {
            let of = context.experiment.merges[merge].specialists.join(", ");
            let chosen = context.candidate(row).filter(|_| candidate.is_none()).map(|c| c.setting.clone());
            let chosen = chosen.map_or_else(String::new, |setting| format!("{setting}, chosen on validation; "));
            format!("{chosen}merge of {of}")
        }
    }
}

fn recipe(row: &Row, context: Context<'_>) -> Option<String> {
    match row {
        Row::Base => None,
        Row::Specialist(name) => match &context.experiment.specialists.get(name)?.origin {
            Origin::Adapter(folder) => Some(format!("adapter: {}", folder.display())),
            Origin::Trained { datasets, settings, .. } => {
                let mut recipe = serde_json::Map::new();
                recipe.insert("base_model".to_owned(), context.experiment.base_model.as_str().into());
                recipe.insert("datasets".to_owned(), datasets.iter().cloned().map(Value::Object).collect());
                recipe.extend(settings.clone());
                Some(block(&Value::Object(recipe)))
            }
        },
        Row::Merge { .. } => {
            let reference = &context.experiment.base_model;
            let base = hub::resolve(reference, None, hub::cache_dir().as_deref()).unwrap_or_else(|_| reference.into());
            context.candidate(row).map(|candidate| context.recipe(candidate, &base).text().to_owned())
        }
    }
}

/// The checks of a gate, as its step remembers them.
#[must_use]
pub(crate) fn checks(report: &GateReport) -> Vec<GateCheck> {
    let check = |check: &crate::eval::gate::Check| {
        let metric = if check.metric.is_empty() { String::new() } else { format!(" of {}", check.metric) };
        GateCheck {
            name: check.name.clone(),
            role: check.role.clone().unwrap_or_else(String::new),
            rule: format!("{} {}{metric}", check.rule, check.limit),
            baseline: check.baseline,
            candidate: check.candidate,
            verdict: check.verdict.name().to_owned(),
            reason: check.reason.clone(),
        }
    };
    report.checks.iter().map(check).collect()
}

fn gates(context: Context<'_>) -> Vec<GateVerdict> {
    let of = |name: &String| {
        let Gated { verdict, rule, checks } = context.gated(name)?.clone();
        Some(GateVerdict { row: name.clone(), verdict, rule, checks })
    };
    context.graph.rows.iter().filter_map(|(name, _)| of(name)).collect()
}

fn selections(context: Context<'_>) -> Vec<Selection> {
    let selected = context.graph.steps.iter().filter_map(|step| match &step.action {
        Action::Select(merge) => Some((merge, context.selected(merge)?)),
        _ => None,
    });
    selected
        .map(|(merge, selected)| {
            let candidate = |(index, score): (usize, &CandidateScore)| {
                (score.setting.clone(), score.score, selected.candidate == index)
            };
            Selection { merge: merge.clone(), candidates: selected.scores.iter().enumerate().map(candidate).collect() }
        })
        .collect()
}

fn curves(context: Context<'_>) -> Vec<Curve> {
    let of = |name: &String| curve(name, &context.out.join(&context.trained(name)?.log));
    context.experiment.specialists.keys().filter_map(of).collect()
}

/// A training log: a JSON object a line, with `step` and any of `loss`, `learning_rate` and what was
/// evaluated (`eval_loss`, `task/metric`).
fn curve(name: &str, log: &Path) -> Option<Curve> {
    let text = crate::storage::input::read_text(log, u64::MAX).ok()?;
    let mut curve = Curve { name: name.to_owned(), ..Curve::default() };
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let Some(step) = line.get("step").and_then(Value::as_f64) else { continue };
        for (key, value) in line.as_object().into_iter().flatten() {
            let Some(value) = value.as_f64() else { continue };
            match key.as_str() {
                "loss" => curve.loss.push((step, value)),
                "learning_rate" => curve.learning_rate.push((step, value)),
                _ if is_evaluation(key) => match curve.evaluations.iter_mut().find(|(known, _)| known == key) {
                    Some((_, points)) => points.push((step, value)),
                    None => curve.evaluations.push((key.clone(), vec![(step, value)])),
                },
                _ => {}
            }
        }
    }
    Some(curve)
}

fn is_evaluation(key: &str) -> bool {
    let timing = ["runtime", "per_second", "seconds"].iter().any(|end| key.ends_with(end));
    (key.starts_with("eval_") || key.contains('/')) && !timing
}

fn published(experiment: &Experiment) -> Option<PublishedTable> {
    let published = experiment.published.as_ref()?;
    let mut columns: Vec<String> = Vec::new();
    for (task, _) in published.rows.iter().flat_map(|(_, figures)| figures) {
        if !columns.contains(task) {
            columns.push(task.clone());
        }
    }
    let rows = published.rows.iter().map(|(name, figures)| {
        let figure = |task: &String| figures.iter().find(|(name, _)| name == task).map(|(_, figure)| *figure);
        (name.clone(), columns.iter().map(figure).collect())
    });
    Some(PublishedTable {
        source: published.source.clone(),
        metric: published.metric.clone(),
        rows: rows.collect(),
        columns: columns.clone(),
    })
}

fn settings(experiment: &Experiment) -> Vec<(String, String)> {
    let evaluation = &experiment.evaluation;
    let number = |value: Option<usize>, none: &str| value.map_or_else(|| none.to_owned(), |n| n.to_string());
    let template = match evaluation.prompts.chat_template.as_deref() {
        None => "none",
        Some("") => "the tokenizer's",
        Some(name) => name,
    };
    let protocols = evaluation.protocols.join(", ");
    [
        ("protocol", if protocols.is_empty() { "each task's first".to_owned() } else { protocols }),
        ("documents of a task", number(evaluation.limit, "all")),
        ("documents of a validation split", number(evaluation.validation_limit, "all")),
        ("examples in each prompt", number(evaluation.prompts.num_fewshot, "each task's own number")),
        ("chat template", template.to_owned()),
        ("storage of weights", evaluation.weights.clone()),
        ("seed", experiment.seed.to_string()),
        ("gate", super::value::canonical(&experiment.gate_settings)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn environment(threads: usize) -> Vec<(String, String)> {
    [
        ("billon", env!("CARGO_PKG_VERSION").to_owned()),
        ("processor", crate::machine::processor().unwrap_or_else(|| "unknown".to_owned())),
        ("threads", threads.to_string()),
        ("system", crate::machine::system().unwrap_or_else(|| std::env::consts::OS.to_owned())),
        ("architecture", std::env::consts::ARCH.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Inputs of all steps, then the weights that steps made.
fn hashes(context: Context<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let steps = || context.graph.steps.iter().filter_map(|step| context.finished.get(&step.name));
    for (name, hash) in steps().flat_map(|record| &record.parts) {
        let Some(name) = name.strip_prefix("input:") else { continue };
        if !found.iter().any(|(known, _)| known == name) {
            found.push((name.to_owned(), hash.clone()));
        }
    }
    found.sort();
    for output in
        steps().filter(|r| r.step.starts_with("train ") || r.step.starts_with("merge ")).flat_map(|r| &r.outputs)
    {
        if output.path.extension().is_some_and(|extension| extension == "safetensors") {
            found.push((output.path.display().to_string(), output.sha256.clone()));
        }
    }
    found
}
