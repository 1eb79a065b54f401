//! Tasks that rows were trained on.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::row::Row;
use super::schema::{Evaluation, Merge, Origin, Specialist};
use super::tasks;
use crate::error::Result;
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
