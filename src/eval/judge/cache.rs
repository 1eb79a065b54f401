//! Verdicts on disk: one JSON line each, only ever appended, so that a killed run loses at most the
//! line it was writing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::prompt::Verdict;
use crate::checkpoint::hash::sha256_bytes;
use crate::eval::openai::ServerError;

/// One line.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Line {
    key: String,
    verdict: Verdict,
}

/// Verdicts by key.
#[derive(Debug)]
pub struct VerdictCache {
    path: PathBuf,
    known: BTreeMap<String, Verdict>,
    file: Mutex<File>,
}

impl VerdictCache {
    /// Opens or creates the file. Lines that are no verdict (a line cut off, another version) are
    /// passed over.
    ///
    /// # Errors
    /// [`ServerError::Cache`].
    pub fn open(path: &Path) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Cache { path: path.display().to_string(), source };
        let text = match crate::input::read(path, u64::MAX) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let known = lines.map(|line| (line.key, line.verdict)).collect();
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").map_err(failed)?;
        }
        Ok(Self { path: path.into(), known, file: Mutex::new(file) })
    }

    /// The verdict that an earlier run got.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Verdict> {
        self.known.get(key).copied()
    }

    /// Keeps a verdict for later runs.
    ///
    /// # Errors
    /// [`ServerError::Cache`].
    pub fn put(&self, key: &str, verdict: Verdict) -> Result<(), ServerError> {
        let failed = |source| ServerError::Cache { path: self.path.display().to_string(), source };
        let line = serde_json::to_string(&Line { key: key.to_owned(), verdict }).map_err(|e| failed(e.into()))?;
        // One write a line: two processes may append to one file.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }
}

/// The key of a question to a judge: everything that decides the answer.
#[must_use]
pub fn key(model: &str, messages: &[Value]) -> String {
    sha256_bytes(Value::from(vec![Value::from("judge 1"), model.into(), messages.into()]).to_string().as_bytes())
}
