//! The gate of one row: what is unseen to it depends on what it was trained on.
//!
//! An experiment calls a task seen when any specialist learns it. To the specialist of another task it is unseen
//! all the same, and what it forgets there counts; so rules for roles are applied by row.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::collect::columns;
use super::graph::Row;
use super::schema::{Evaluation, Experiment, Merge, Origin, Specialist};
use super::tasks;
use crate::error::Result;
use crate::eval::gate::{GateConfig, Rules, TaskRules};
use crate::eval::results::RunResults;
use crate::task;

/// Training data of an experiment's specialists, looked up once: loading a task reads the whole suite.
pub(super) struct Training {
    by_specialist: IndexMap<String, BTreeSet<String>>,
}

impl Training {
    /// Tasks that specialists learn, by their own names; sets that are no tasks by the name they are given. An
    /// adapter that does not say what it learnt counts as trained on all tasks that the experiment calls
    /// seen.
    ///
    /// # Errors
    /// A faulty task file of the evaluation.
    pub(super) fn new(evaluation: &Evaluation, specialists: &IndexMap<String, Specialist>) -> Result<Self> {
        let mut loaded: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut by_specialist = IndexMap::new();
        for (name, specialist) in specialists {
            let mut learnt: BTreeSet<String> = specialist.learns.iter().cloned().collect();
            if learnt.is_empty() {
                learnt.extend(tasks::names(evaluation, &evaluation.seen)?);
            }
            for listed in listed(specialist) {
                let names = loaded.entry(listed.clone()).or_insert_with(|| {
                    // A set may be no task of ours; that of a trained specialist is checked before it runs.
                    let set = task::load(&[listed]).map_or_else(|_| Vec::new(), |set| set.tasks);
                    set.into_iter().map(|config| config.name).collect()
                });
                learnt.extend(names.iter().cloned());
            }
            by_specialist.insert(name.clone(), learnt);
        }
        Ok(Self { by_specialist })
    }

    /// Names of the tasks that a row was trained on, directly or through the specialists that it merges.
    pub(super) fn of_row(&self, row: &Row, merges: &IndexMap<String, Merge>) -> BTreeSet<String> {
        match row {
            Row::Base => BTreeSet::new(),
            Row::Specialist(name) => self.of(std::iter::once(name)),
            Row::Merge { merge, .. } => self.of(merges.get(merge).iter().flat_map(|merge| &merge.specialists)),
        }
    }

    /// The same for every specialist and every merge.
    pub(super) fn of_all_rows(&self, merges: &IndexMap<String, Merge>) -> Vec<BTreeSet<String>> {
        let own = self.by_specialist.values().cloned();
        own.chain(merges.values().map(|merge| self.of(merge.specialists.iter()))).collect()
    }

    fn of<'a>(&self, names: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
        names.filter_map(|name| self.by_specialist.get(name)).flatten().cloned().collect()
    }
}

/// Tasks that a specialist learns in the words of a task loader: names or files of tasks and groups.
fn listed(specialist: &Specialist) -> Vec<String> {
    match &specialist.origin {
        Origin::Adapter(_) => specialist.learns.clone(),
        Origin::Trained { datasets, .. } => {
            let is_task = |set: &&Map<String, Value>| set.get("type").and_then(Value::as_str) == Some("task");
            let path = |set: &Map<String, Value>| Some(set.get("path")?.as_str()?.to_owned());
            datasets.iter().filter(is_task).filter_map(path).collect()
        }
    }
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
