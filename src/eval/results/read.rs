//! Reading results, ours or the harness's.
//!
//! Tolerant to versions: only the keys that a comparison rests on must be there. A key of the
//! harness that carries `NaN` or `Infinity`, which is no JSON, is read as a metric that is no number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::ResultsError;
use super::json::parse;
use super::locate::locate;

/// A results file; its samples stand beside it.
#[derive(Debug, Clone)]
pub struct RunResults {
    /// The results file.
    pub path: PathBuf,
    /// Top level of the file.
    pub top: Map<String, Value>,
    /// Tasks in the order of the file, without groups.
    pub tasks: Vec<TaskResults>,
}

/// One task of a results file.
#[derive(Debug, Clone)]
pub struct TaskResults {
    /// Task, as the results file names it.
    pub name: String,
    /// Scores by `"<metric>,<slot>"`, in the order of the file; those that are numbers.
    pub scores: Vec<(String, f64)>,
    /// All keys of metrics, in the order of the file, whatever stands there: a metric that is not a number is
    /// still a metric.
    pub metrics: Vec<String>,
    /// Standard errors by the same keys, where the file has them.
    pub standard_errors: BTreeMap<String, f64>,
    /// `seen`, `unseen` or `general`, where the file says so.
    pub role: Option<String>,
    /// Whether more is better, by metric.
    pub higher_is_better: BTreeMap<String, bool>,
}

impl RunResults {
    /// Loads a results file, or the newest one of a directory or of its sub-directories, which hold one model.
    ///
    /// # Errors
    /// Nothing there, several models, or not what the harness's layout promises; file and key are named.
    pub fn load(path: &Path) -> Result<Self, ResultsError> {
        let path = locate(path)?;
        let text = crate::storage::input::read_text(&path, crate::storage::input::LIST_BYTES)
            .map_err(|source| ResultsError::Read { path: path.clone(), source })?;
        let value = parse(&text).map_err(|source| ResultsError::Json { path: path.clone(), source })?;
        let wrong = |key: &str, expected| ResultsError::Key { path: path.clone(), key: key.to_owned(), expected };
        let Value::Object(top) = value else { return Err(wrong("results", "a mapping")) };
        let results = top.get("results").and_then(Value::as_object).ok_or_else(|| wrong("results", "a mapping"))?;
        let groups = top.get("group_subtasks").and_then(Value::as_object);
        let mut tasks = Vec::new();
        for (name, entry) in results {
            // Older files list a task among the groups, with nothing below it.
            let is_group =
                groups.and_then(|g| g.get(name)).and_then(Value::as_array).is_some_and(|children| !children.is_empty());
            // lighteval's mean over everything is no task.
            if is_group || (name == "all" && top.contains_key("config_general")) {
                continue;
            }
            let key = || format!("results.{name}");
            let entry = entry.as_object().ok_or_else(|| wrong(&key(), "a mapping"))?;
            tasks.push(task(name, entry, &top));
        }
        if tasks.is_empty() {
            return Err(wrong("results", "a mapping with tasks"));
        }
        Ok(Self { path, top, tasks })
    }

    /// The task of a name.
    ///
    /// # Errors
    /// [`ResultsError::NoTask`] with the known ones.
    pub fn task(&self, name: &str) -> Result<&TaskResults, ResultsError> {
        self.tasks.iter().find(|task| task.name == name).ok_or_else(|| ResultsError::NoTask {
            task: name.to_owned(),
            path: self.path.clone(),
            known: self.tasks.iter().map(|task| task.name.clone()).collect(),
        })
    }

    /// A value below the top level, by keys.
    #[must_use]
    pub fn value(&self, keys: &[&str]) -> Option<&Value> {
        let (first, rest) = keys.split_first()?;
        rest.iter().try_fold(self.top.get(*first)?, |value, key| value.get(key)).filter(|value| !value.is_null())
    }

    /// Groups with the tasks below them.
    #[must_use]
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let Some(groups) = self.top.get("group_subtasks").and_then(Value::as_object) else { return Vec::new() };
        let children = |name: &str| -> Vec<String> {
            let list = groups.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        groups
            .keys()
            .filter_map(|name| {
                let (mut open, mut tasks) = (children(name), Vec::new());
                // A group may hold groups; a depth limit keeps a file that holds itself from looping.
                for _ in 0..64 {
                    let (inner, leaves): (Vec<_>, Vec<_>) = open.into_iter().partition(|c| !children(c).is_empty());
                    tasks.extend(leaves.into_iter().filter(|leaf| self.tasks.iter().any(|task| task.name == *leaf)));
                    open = inner.iter().flat_map(|group| children(group)).collect();
                    if open.is_empty() {
                        break;
                    }
                }
                tasks.sort();
                tasks.dedup();
                (!tasks.is_empty()).then(|| (name.clone(), tasks))
            })
            .collect()
    }
}

impl TaskResults {
    /// Whether a metric of the task is better when greater; the registry's word where the file is silent.
    #[must_use]
    pub fn higher_is_better(&self, metric: &str) -> bool {
        let known = || crate::eval::metrics::find(metric).map_or(true, |info| info.higher_is_better);
        self.higher_is_better.get(metric).copied().unwrap_or_else(known)
    }
}

fn task(name: &str, entry: &Map<String, Value>, top: &Map<String, Value>) -> TaskResults {
    // Before filters had names (until 0.3, and in formats that descend from it) keys are bare metrics.
    let named = entry.keys().any(|key| key.contains(','));
    let (mut scores, mut metrics, mut standard_errors) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (key, value) in entry {
        let (metric, slot) = match key.split_once(',') {
            Some(parts) => parts,
            None if !named && (value.is_number() || value.is_null()) => (key.as_str(), "none"),
            None => continue,
        };
        let metric_of_error = metric.strip_suffix("_stderr");
        let key = format!("{},{slot}", metric_of_error.unwrap_or(metric));
        match (metric_of_error, value.as_f64()) {
            (Some(_), error) => standard_errors.extend(error.map(|error| (key, error))),
            (None, score) => {
                scores.extend(score.map(|score| (key.clone(), score)));
                metrics.push(key);
            }
        }
    }
    let at = |keys: [&str; 2], more: &[&str]| {
        more.iter().try_fold(top.get(keys[0])?.get(keys[1])?, |value, key| value.get(*key))
    };
    let role = at(["billon", "tasks"], &[name, "role"])
        .and_then(Value::as_str)
        .or_else(|| at(["configs", name], &["metadata", "role"]).and_then(Value::as_str));
    let higher = at(["higher_is_better", name], &[]).and_then(Value::as_object);
    let higher_is_better =
        higher.into_iter().flatten().filter_map(|(metric, value)| Some((metric.clone(), value.as_bool()?))).collect();
    let role = role.map(str::to_owned);
    TaskResults { name: name.to_owned(), scores, metrics, standard_errors, role, higher_is_better }
}
