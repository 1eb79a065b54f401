//! Records of finished steps: `OUT/steps/NAME.json`, published whole or not at all, with the SHA-256 of its own
//! contents. A record that is damaged counts as none: its step runs again, with a warning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::ExperimentError;
use super::output::StepOutput;
use crate::error::{Cancelled, Result};
use crate::event::CancelFlag;
use crate::storage::hash::{HashCache, sha256_input};
use crate::storage::publish::publish_file;
use crate::storage::sealed::{SealError, seal, unseal};

/// Layout of records. 1 had no checksum.
pub(crate) const FORMAT: u64 = 2;

/// A finished step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The record's layout.
    #[serde(default = "first_format")]
    pub format: u64,
    pub step: String,
    /// Hash of its dependencies.
    pub fingerprint: String,
    /// Parts of the fingerprint.
    pub parts: BTreeMap<String, String>,
    /// The files it made.
    pub outputs: Vec<OutputRecord>,
    /// Scores, the chosen recipe, a verdict.
    pub(crate) outcome: StepOutput,
    /// Duration.
    pub seconds: f64,
    /// When it was finished.
    pub finished: String,
}

fn first_format() -> u64 {
    1
}

/// A file that a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputRecord {
    /// From the output folder.
    pub path: PathBuf,
    /// Length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// The records of an output folder.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    out: PathBuf,
    records: BTreeMap<String, Record>,
    /// File names of records that can't be used, and why.
    damaged: BTreeMap<String, String>,
}

impl State {
    /// Reads the records of a folder; one that does not exist has none. A damaged record is passed over.
    ///
    /// # Errors
    /// A file that can't be read, a record of a later version.
    #[expect(clippy::missing_panics_doc, reason = "what is expected holds by construction")]
    pub fn load(out: &Path) -> Result<Self> {
        let (mut records, mut damaged) = (BTreeMap::new(), BTreeMap::new());
        let entries = std::fs::read_dir(out.join("steps")).into_iter().flatten();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if hidden || path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = crate::storage::input::read(&path, crate::storage::input::LIST_BYTES)
                .map_err(|source| ExperimentError::Read { path: path.clone(), source })?;
            let name = path.file_name().expect("an entry of a folder has a name").to_string_lossy().into_owned();
            match read(&text) {
                Ok(record) if format!("{}.json", file_name(&record.step)) == name => {
                    records.insert(record.step.clone(), record);
                }
                Ok(record) => {
                    damaged.insert(name, format!("it speaks of step `{}`", record.step));
                }
                Err(Unread::Later(format)) => {
                    return Err(ExperimentError::NewRecord { path, format, current: FORMAT }.into());
                }
                Err(Unread::Damaged(reason)) => {
                    damaged.insert(name, reason);
                }
            }
        }
        Ok(Self { out: out.to_owned(), records, damaged })
    }

    /// Warnings about damaged records.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let steps = self.out.join("steps");
        self.damaged.iter().map(move |(name, reason)| {
            format!("{} is damaged ({reason}): its step runs again", steps.join(name).display())
        })
    }

    /// The file of a step's record, where that is damaged.
    #[must_use]
    pub fn damaged(&self, step: &str) -> Option<String> {
        let name = format!("{}.json", file_name(step));
        self.damaged.contains_key(&name).then(|| format!("steps/{name}"))
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
        let document = match serde_json::to_value(&record) {
            Ok(Value::Object(document)) => document,
            Ok(_) => Map::new(),
            Err(source) => return Err(ExperimentError::Unwritable { step: record.step, source }.into()),
        };
        publish_file(&path, seal(document).as_bytes())?;
        self.damaged.retain(|name, _| path.file_name().is_none_or(|file| *name != file.to_string_lossy()));
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

/// Reasons why a record can't be used.
enum Unread {
    /// Layout of a later version.
    Later(u64),
    /// Contents that differ from what was written.
    Damaged(String),
}

/// A record, or what is wrong with it. Those of layout 1 have no checksum and are believed.
fn read(text: &[u8]) -> Result<Record, Unread> {
    let damaged = |reason: String| Unread::Damaged(reason);
    let document = match unseal(text) {
        Ok(document) => document,
        Err(SealError::Unsealed) => {
            let record: Record = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
            return if record.format == 1 { Ok(record) } else { Err(damaged(SealError::Unsealed.to_string())) };
        }
        Err(error) => return Err(damaged(error.to_string())),
    };
    match document.get("format").and_then(Value::as_u64) {
        Some(later) if later > FORMAT => Err(Unread::Later(later)),
        _ => serde_json::from_value(Value::Object(document)).map_err(|error| damaged(error.to_string())),
    }
}

fn hash(path: &Path, cache: &mut HashCache, cancel: &CancelFlag) -> Result<String> {
    let hash =
        sha256_input(path, cache, cancel).map_err(|source| ExperimentError::Read { path: path.to_owned(), source })?;
    Ok(hash.ok_or(Cancelled)?)
}

/// A step's name as a file's.
#[must_use]
pub(crate) fn file_name(step: &str) -> String {
    step.replace(' ', "-")
}
