//! The gate of one row: what is unseen to it depends on what it was trained on.
//!
//! An experiment calls a task seen when any specialist learns it. To the specialist of another task it is unseen
//! all the same, and what it forgets there counts; so rules for roles are applied by row.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::collect::columns;
use super::graph::Row;
use super::schema::{Evaluation, Experiment, Merge, Origin, Specialist};
use super::tasks;
use crate::error::Result;
use crate::eval::gate::{GateConfig, Rules, TaskRules};
use crate::eval::results::RunResults;
use crate::task;

/// Names of the tasks that a row was trained on, directly or through the specialists that it merges. An
/// adapter that does not say what it learnt counts as trained on all tasks that the experiment calls seen.
///
/// # Errors
/// A faulty task file.
pub(super) fn trained_on(experiment: &Experiment, row: &Row) -> Result<BTreeSet<String>> {
    let names: Vec<&String> = match row {
        Row::Base => Vec::new(),
        Row::Specialist(name) => vec![name],
        Row::Merge { merge, .. } => experiment.merges.get(merge).iter().flat_map(|merge| &merge.specialists).collect(),
    };
    of_specialists(&experiment.evaluation, &experiment.specialists, &names)
}

/// What the rows of an experiment that is still being read are trained on; one that cannot be told is left out.
pub(super) fn all_trained_on(
    evaluation: &Evaluation,
    specialists: &IndexMap<String, Specialist>,
    merges: &IndexMap<String, Merge>,
) -> Vec<BTreeSet<String>> {
    let own = specialists.keys().map(|name| vec![name]);
    let merged = merges.values().map(|merge| merge.specialists.iter().collect());
    own.chain(merged).filter_map(|names: Vec<&String>| of_specialists(evaluation, specialists, &names).ok()).collect()
}

fn of_specialists(
    evaluation: &Evaluation,
    specialists: &IndexMap<String, Specialist>,
    names: &[&String],
) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for specialist in names.iter().filter_map(|name| specialists.get(*name)) {
        let learnt = learnt(specialist);
        if learnt.is_empty() {
            found.extend(tasks::names(evaluation, &evaluation.seen)?);
        }
        found.extend(learnt);
    }
    Ok(found)
}

/// Tasks that a specialist learns, by their own names; sets that are no tasks by the name they are given.
fn learnt(specialist: &Specialist) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = specialist.learns.iter().cloned().collect();
    let listed: Vec<String> = match &specialist.origin {
        Origin::Adapter(_) => specialist.learns.clone(),
        Origin::Trained { datasets, .. } => {
            let is_task = |set: &&serde_json::Map<String, serde_json::Value>| {
                set.get("type").and_then(serde_json::Value::as_str) == Some("task")
            };
            let path = |set: &serde_json::Map<String, serde_json::Value>| Some(set.get("path")?.as_str()?.to_owned());
            datasets.iter().filter(is_task).filter_map(path).collect()
        }
    };
    for name in listed {
        // An adapter may name a set that is no task of ours; a trained one was checked before it ran.
        if let Ok(set) = task::load(&[name]) {
            found.extend(set.tasks.into_iter().map(|config| config.name));
        }
    }
    found
}

/// The role of a task to a row that was trained on these.
pub(super) fn role(task: &str, stated: &str, trained_on: &BTreeSet<String>) -> String {
    match stated {
        _ if trained_on.contains(task) => "seen".to_owned(),
        "seen" => "unseen".to_owned(),
        other => other.to_owned(),
    }
}

/// The experiment's gate as it judges a row: roles by row, and the metric that the report's tables show.
///
/// # Errors
/// A faulty task file.
pub(super) fn row_gate(experiment: &Experiment, row: &Row, base: &RunResults) -> Result<GateConfig> {
    let mut config = experiment.gate.clone();
    // Results know tasks by their own names, whatever file or group the experiment named.
    config.only = tasks::names(&experiment.evaluation, &config.only)?;
    for group in &mut config.groups {
        group.tasks = tasks::names(&experiment.evaluation, &group.tasks)?;
    }
    for rules in &mut config.tasks {
        if let [name] = tasks::names(&experiment.evaluation, std::slice::from_ref(&rules.task))?.as_slice() {
            rules.task.clone_from(name);
        }
    }
    let trained_on = trained_on(experiment, row)?;
    for column in columns(base, experiment) {
        let role = role(&column.name, &column.role, &trained_on);
        let position = config.tasks.iter().position(|known| known.task == column.name).unwrap_or_else(|| {
            let rules = Rules::default();
            config.tasks.push(TaskRules { task: column.name.clone(), rules, role: None, span: None });
            config.tasks.len() - 1
        });
        let inherits_metric = config.rules(&column.name, Some(&role)).metric.is_none();
        let own = &mut config.tasks[position];
        own.role.get_or_insert(role);
        if inherits_metric {
            own.rules.metric = Some(column.metric);
        }
    }
    Ok(config)
}
