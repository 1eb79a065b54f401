//! What finished steps leave behind: `OUT/steps/NAME.json`, published whole or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ExperimentError;
use crate::checkpoint::hash::{HashCache, sha256_input};
use crate::checkpoint::writer::publish_file;
use crate::error::{Cancelled, Result};
use crate::event::CancelFlag;

/// A finished step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name.
    pub step: String,
    /// Hash of what it rests on.
    pub fingerprint: String,
    /// What it rests on.
    pub parts: BTreeMap<String, String>,
    /// The files it made.
    pub outputs: Vec<OutputRecord>,
    /// What it found: scores, the chosen recipe, a verdict.
    pub outcome: Value,
    /// How long it took.
    pub seconds: f64,
    /// When it was finished.
    pub finished: String,
}

/// A file that a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputRecord {
    /// From the output folder.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// The records of an output folder.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    out: PathBuf,
    records: BTreeMap<String, Record>,
}

impl State {
    /// Reads the records of a folder; one that does not exist has none.
    ///
    /// # Errors
    /// A record that is none.
    pub fn load(out: &Path) -> Result<Self> {
        let mut records = BTreeMap::new();
        let entries = std::fs::read_dir(out.join("steps")).into_iter().flatten();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if hidden || path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = crate::input::read_text(&path, crate::input::LIST_BYTES)
                .map_err(|source| ExperimentError::Read { path: path.clone(), source })?;
            let record: Record = serde_json::from_str(&text)
                .map_err(|error| ExperimentError::Record { path: path.clone(), reason: error.to_string() })?;
            records.insert(record.step.clone(), record);
        }
        Ok(Self { out: out.to_owned(), records })
    }

    /// The output folder.
    #[must_use]
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// The record of a step.
    #[must_use]
    pub fn record(&self, step: &str) -> Option<&Record> {
        self.records.get(step)
    }

    /// All records, by name.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The first output of a record that is not as it was left, and what became of it.
    ///
    /// # Errors
    /// A file that is there and can't be read; `Cancelled`.
    pub fn damage(&self, record: &Record, cache: &mut HashCache, cancel: &CancelFlag) -> Result<Option<String>> {
        for output in &record.outputs {
            let path = self.out.join(&output.path);
            let shown = output.path.display();
            let Ok(metadata) = std::fs::metadata(&path) else { return Ok(Some(format!("output gone: {shown}"))) };
            let same = metadata.len() == output.bytes && hash(&path, cache, cancel)? == output.sha256;
            if !same {
                return Ok(Some(format!("output changed: {shown}")));
            }
        }
        Ok(None)
    }

    /// Remembers a finished step, on disk first.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn finish(&mut self, record: Record) -> Result<()> {
        let path = self.out.join("steps").join(format!("{}.json", file_name(&record.step)));
        let mut text = serde_json::to_string_pretty(&record).unwrap_or_default();
        text.push('\n');
        publish_file(&path, text.as_bytes())?;
        self.records.insert(record.step.clone(), record);
        Ok(())
    }

    /// The record's view of files that a step made.
    ///
    /// # Errors
    /// A file that is not there or can't be read.
    pub fn outputs(
        &self,
        step: &str,
        paths: &[PathBuf],
        cache: &mut HashCache,
        cancel: &CancelFlag,
    ) -> Result<Vec<OutputRecord>> {
        let mut records = Vec::with_capacity(paths.len());
        for path in paths {
            let none = || ExperimentError::NoOutput { step: step.to_owned(), path: path.clone() };
            let bytes = std::fs::metadata(path).map_err(|_| none())?.len();
            let sha256 = hash(path, cache, cancel)?;
            let path = path.strip_prefix(&self.out).unwrap_or(path).to_owned();
            records.push(OutputRecord { path, bytes, sha256 });
        }
        Ok(records)
    }
}

fn hash(path: &Path, cache: &mut HashCache, cancel: &CancelFlag) -> Result<String> {
    let hash =
        sha256_input(path, cache, cancel).map_err(|source| ExperimentError::Read { path: path.to_owned(), source })?;
    Ok(hash.ok_or(Cancelled)?)
}

/// A step's name as a file's.
#[must_use]
pub fn file_name(step: &str) -> String {
    step.replace(' ', "-")
}
