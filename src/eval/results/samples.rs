//! Reading samples files: one document a line, or until lm-eval 0.4.2 one array of them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::ResultsError;
use super::json::parse;
use super::read::RunResults;
use crate::python::json;

/// One line of a samples file.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Number in the split.
    pub doc_id: i64,
    /// Hash of the document.
    pub doc_hash: String,
    pub prompt_hash: String,
    pub target_hash: String,
    /// The filter slot.
    pub slot: String,
    /// The whole line.
    pub line: Map<String, Value>,
}

impl RunResults {
    /// The samples of a task.
    ///
    /// # Errors
    /// No samples file, or a line that lacks what a comparison needs.
    pub fn samples(&self, task: &str) -> Result<Vec<Sample>, ResultsError> {
        let path = self.samples_file(task)?;
        let text = match crate::storage::input::read_text(&path, u64::MAX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ResultsError::NoSamples { task: task.to_owned(), path: self.path.clone() });
            }
            Err(source) => return Err(ResultsError::Read { path, source }),
            Ok(text) => text,
        };
        let slot = self.only_slot(task);
        let mut samples = Vec::new();
        if text.trim_start().starts_with('[') {
            let list = parse(&text).map_err(|source| ResultsError::Json { path: path.clone(), source })?;
            for (index, value) in list.as_array().into_iter().flatten().enumerate() {
                samples.push(sample(value.clone(), ("entry", index + 1), slot.as_deref(), &path)?);
            }
        } else {
            for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let number = index + 1;
                let value =
                    parse(line).map_err(|source| ResultsError::Line { path: path.clone(), line: number, source })?;
                samples.push(sample(value, ("line", number), slot.as_deref(), &path)?);
            }
        }
        if samples.is_empty() { Err(ResultsError::EmptySamples { path }) } else { Ok(samples) }
    }

    /// Whether a task has a samples file, whatever is in it.
    #[must_use]
    pub fn has_samples(&self, task: &str) -> bool {
        match self.samples_file(task) {
            Ok(path) => path.exists(),
            Err(error) => !matches!(error, ResultsError::NoSamples { .. }),
        }
    }

    /// The only filter of a task's scores, for samples that name none.
    fn only_slot(&self, task: &str) -> Option<String> {
        let task = self.task(task).ok()?;
        let mut slots: Vec<&str> = task.metrics.iter().filter_map(|key| Some(key.split_once(',')?.1)).collect();
        slots.dedup();
        if let [slot] = slots[..] { Some(slot.to_owned()) } else { None }
    }

    /// `samples_<task>_<time>.jsonl` with the time of the results; beside a `results.json` without one,
    /// `<model_args>_<task>.jsonl`.
    fn samples_file(&self, task: &str) -> Result<PathBuf, ResultsError> {
        let none = || ResultsError::NoSamples { task: task.to_owned(), path: self.path.clone() };
        let name = self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if let Some((_, stamp)) = name.trim_end_matches(".json").rsplit_once('_') {
            return Ok(self.path.with_file_name(format!("samples_{task}_{stamp}.jsonl")));
        }
        let end = format!("_{task}.jsonl");
        // `x_a_b.jsonl` is the file of `a_b`, not of `b`.
        let longer: Vec<String> = self
            .tasks
            .iter()
            .filter(|other| other.name.ends_with(&format!("_{task}")))
            .map(|other| format!("_{}.jsonl", other.name))
            .collect();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let entries = fs::read_dir(folder).map_err(|source| ResultsError::Read { path: folder.into(), source })?;
        let mut found: Vec<PathBuf> = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(&end) && !longer.iter().any(|longer| name.ends_with(longer)) {
                found.push(entry.path());
            }
        }
        found.sort();
        match found.len() {
            0 => Err(none()),
            1 => found.pop().ok_or_else(none),
            _ => Err(ResultsError::SeveralSamples { task: task.to_owned(), path: self.path.clone(), files: found }),
        }
    }
}

fn sample(value: Value, place: (&'static str, usize), slot: Option<&str>, path: &Path) -> Result<Sample, ResultsError> {
    let (unit, line) = place;
    let wrong =
        |key: &str, expected| ResultsError::SampleKey { path: path.into(), unit, line, key: key.to_owned(), expected };
    let Value::Object(line) = value else { return Err(wrong("doc_id", "a mapping")) };
    // Until 0.4.2 there are no hashes: they are made of what the harness makes them of.
    let old = ["doc_hash", "prompt_hash", "target_hash"].iter().all(|key| !line.contains_key(*key));
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| wrong(key, "a text"));
    let (doc_hash, prompt_hash, target_hash) = if old {
        let doc = line.get("doc").ok_or_else(|| wrong("doc_hash", "a text, and it has no `doc` either"))?;
        let prompt = line.get("arguments").and_then(|list| list.get(0)?.get(0)?.as_str());
        let prompt = prompt.ok_or_else(|| wrong("prompt_hash", "a text, and it has no `arguments` either"))?;
        let target = line.get("target").ok_or_else(|| wrong("target_hash", "a text, and it has no `target` either"))?;
        (json::document_hash(doc), json::hash(prompt), json::hash(&json::str(target)))
    } else {
        (text("doc_hash")?, text("prompt_hash")?, text("target_hash")?)
    };
    Ok(Sample {
        doc_id: line.get("doc_id").and_then(Value::as_i64).ok_or_else(|| wrong("doc_id", "a whole number"))?,
        doc_hash,
        prompt_hash,
        target_hash,
        // Before filters had names in samples, there was one pipeline.
        slot: line.get("filter").and_then(Value::as_str).or(slot).unwrap_or("none").to_owned(),
        line,
    })
}
