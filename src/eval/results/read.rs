//! Reading results, ours or the harness's.
//!
//! Tolerant to versions: only the keys that a comparison rests on must be there. A key of the
//! harness that carries `NaN` or `Infinity`, which is no JSON, is read as no number.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::ResultsError;

/// A results file and where its samples stand.
#[derive(Debug, Clone)]
pub struct RunResults {
    /// The results file.
    pub path: PathBuf,
    /// Its top level.
    pub top: Map<String, Value>,
    /// Its tasks, in the order of the file. Groups are not among them.
    pub tasks: Vec<TaskResults>,
}

/// One task of a results file.
#[derive(Debug, Clone)]
pub struct TaskResults {
    /// Its name.
    pub name: String,
    /// Scores by `"<metric>,<slot>"`, in the order of the file.
    pub scores: Vec<(String, f64)>,
    /// `seen`, `unseen` or `general`, where the file says so.
    pub role: Option<String>,
    /// Whether more is better, by metric.
    pub higher_is_better: BTreeMap<String, bool>,
}

/// One line of a samples file.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its place in the split.
    pub doc_id: i64,
    /// Hash of the document.
    pub doc_hash: String,
    /// Hash of the prompt.
    pub prompt_hash: String,
    /// Hash of the target.
    pub target_hash: String,
    /// The filter slot.
    pub slot: String,
    /// The whole line.
    pub line: Map<String, Value>,
}

impl RunResults {
    /// Loads a results file, or the newest one of a directory or of its sub-directories.
    ///
    /// # Errors
    /// Nothing there, or not what the harness's layout promises; file and key are named.
    pub fn load(path: &Path) -> Result<Self, ResultsError> {
        let path = locate(path)?;
        let text = crate::input::read_text(&path, crate::input::LIST_BYTES)
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
            if is_group {
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

    /// The samples of a task.
    ///
    /// # Errors
    /// No samples file, or a line that lacks what a comparison needs.
    pub fn samples(&self, task: &str) -> Result<Vec<Sample>, ResultsError> {
        let none = || ResultsError::NoSamples { task: task.to_owned(), path: self.path.clone() };
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (_, stamp) = name.trim_end_matches(".json").rsplit_once('_').ok_or_else(none)?;
        let path = self.path.with_file_name(format!("samples_{task}_{stamp}.jsonl"));
        let text = match crate::input::read_text(&path, u64::MAX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none()),
            Err(source) => return Err(ResultsError::Read { path, source }),
            Ok(text) => text,
        };
        let mut samples = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            samples.push(sample(line, index + 1, &path)?);
        }
        if samples.is_empty() { Err(none()) } else { Ok(samples) }
    }
}

impl TaskResults {
    /// Whether a metric of the task is better when greater; the registry's word where the file is silent.
    #[must_use]
    pub fn higher_is_better(&self, metric: &str) -> bool {
        let known = || crate::eval::metric::find(metric).map_or(true, |info| info.higher_is_better);
        self.higher_is_better.get(metric).copied().unwrap_or_else(known)
    }
}

fn task(name: &str, entry: &Map<String, Value>, top: &Map<String, Value>) -> TaskResults {
    let scores = entry
        .iter()
        .filter_map(|(key, value)| {
            let (metric, _) = key.split_once(',')?;
            (!metric.ends_with("_stderr")).then_some((key.clone(), value.as_f64()?))
        })
        .collect();
    let at = |keys: [&str; 2], more: &[&str]| {
        more.iter().try_fold(top.get(keys[0])?.get(keys[1])?, |value, key| value.get(*key))
    };
    let role = at(["billon", "tasks"], &[name, "role"])
        .and_then(Value::as_str)
        .or_else(|| at(["configs", name], &["metadata", "role"]).and_then(Value::as_str));
    let higher = at(["higher_is_better", name], &[]).and_then(Value::as_object);
    let higher_is_better =
        higher.into_iter().flatten().filter_map(|(metric, value)| Some((metric.clone(), value.as_bool()?))).collect();
    TaskResults { name: name.to_owned(), scores, role: role.map(str::to_owned), higher_is_better }
}

fn sample(text: &str, number: usize, path: &Path) -> Result<Sample, ResultsError> {
    let value = parse(text).map_err(|source| ResultsError::Line { path: path.into(), line: number, source })?;
    let wrong = |key: &str, expected| ResultsError::SampleKey {
        path: path.into(),
        line: number,
        key: key.to_owned(),
        expected,
    };
    let Value::Object(line) = value else { return Err(wrong("doc_id", "a mapping")) };
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| wrong(key, "a text"));
    Ok(Sample {
        doc_id: line.get("doc_id").and_then(Value::as_i64).ok_or_else(|| wrong("doc_id", "a whole number"))?,
        doc_hash: text("doc_hash")?,
        prompt_hash: text("prompt_hash")?,
        target_hash: text("target_hash")?,
        // Before filters had names in samples, there was one pipeline.
        slot: line.get("filter").and_then(Value::as_str).unwrap_or("none").to_owned(),
        line,
    })
}

/// The newest results file of a directory, else of its sub-directories; a file is itself.
fn locate(path: &Path) -> Result<PathBuf, ResultsError> {
    let read = |source| ResultsError::Read { path: path.into(), source };
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(path.into());
    }
    let entries = |path: &Path| -> Vec<PathBuf> {
        fs::read_dir(path).map_or_else(|_| Vec::new(), |list| list.flatten().map(|entry| entry.path()).collect())
    };
    let newest = |list: Vec<PathBuf>| {
        let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut list: Vec<(String, PathBuf)> = list.into_iter().map(|path| (name(&path), path)).collect();
        list.retain(|(name, path)| name.starts_with("results_") && path.extension().is_some_and(|e| e == "json"));
        list.into_iter().max().map(|(_, path)| path)
    };
    let below =
        || entries(path).into_iter().filter(|entry| entry.is_dir()).flat_map(|folder| entries(&folder)).collect();
    newest(entries(path)).or_else(|| newest(below())).ok_or_else(|| ResultsError::None { path: path.into() })
}

/// JSON as Python writes it: `NaN` and `Infinity` become null.
fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match without_nan(text) {
        Some(text) => serde_json::from_str(&text),
        None => Err(error),
    })
}

/// `NaN` and `Infinity` outside of strings replaced; `None` when there are none.
fn without_nan(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped, mut found) = (false, false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !quoted && let Some(word) = ["NaN", "-Infinity", "Infinity"].iter().find(|word| rest.starts_with(**word)) {
            out.push_str("null");
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        quoted = if c == '"' && !escaped { !quoted } else { quoted };
        escaped = quoted && c == '\\' && !escaped;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    found.then_some(out)
}
