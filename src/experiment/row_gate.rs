//! The gate of one row: what is unseen to it depends on what it was trained on.
//!
//! An experiment calls a task seen when any specialist learns it. To the specialist of another task it is unseen
//! all the same, and what it forgets there counts; so rules for roles are applied by row.

use std::collections::BTreeSet;

use super::collect::columns;
use super::row::Row;
use super::schema::Experiment;
use super::tasks;
use super::training_tasks::Training;
use crate::error::Result;
use crate::eval::gate::{GateConfig, Rules, TaskRules};
use crate::eval::results::RunResults;

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
    let training = Training::new(&experiment.evaluation, &experiment.specialists)?;
    let trained_on = training.of_row(row, &experiment.merges);
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
