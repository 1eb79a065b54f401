//! Verdicts on disk: one JSON line each, only ever appended, so that a killed run loses at most the
//! line it was writing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::prompt::Verdict;
use crate::eval::cache::is_whole;
use crate::eval::server::ServerError;
use crate::storage::append_log;
use crate::storage::hash::{checksum, sha256_bytes};

/// One line.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Line {
    key: String,
    verdict: Verdict,
    /// Checksum of both: a flipped bit must not turn a verdict into another.
    sum: String,
}

impl Line {
    fn new(key: &str, verdict: Verdict) -> Self {
        Self { key: key.to_owned(), verdict, sum: checksum(&format!("{key} {}", name(verdict))) }
    }

    /// Key and verdict of a line; `None` where it is damaged.
    fn read(line: &str) -> Option<(String, Verdict)> {
        let line: Self = serde_json::from_str(line).ok()?;
        (line.sum == Self::new(&line.key, line.verdict).sum).then_some((line.key, line.verdict))
    }
}

/// The word of checksums.
fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Correct => "Correct",
        Verdict::Incorrect => "Incorrect",
        Verdict::Unclear => "Unclear",
    }
}

/// Verdicts by key.
#[derive(Debug)]
pub(crate) struct VerdictCache {
    path: PathBuf,
    known: BTreeMap<String, Verdict>,
    damaged: usize,
    file: Mutex<File>,
}

impl VerdictCache {
    /// Opens or creates the file. Lines that are no verdict (a line cut off, another version, a wrong
    /// checksum) are passed over.
    ///
    /// # Errors
    /// [`ServerError::Cache`].
    pub(crate) fn open(path: &Path) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Cache { path: path.display().to_string(), source };
        let (mut file, bytes) = append_log::open_shared(path).map_err(failed)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut known = BTreeMap::new();
        let mut damaged = 0;
        for line in text.lines().filter(|line| !line.is_empty()) {
            match Line::read(line) {
                Some((key, verdict)) => _ = known.insert(key, verdict),
                None => damaged += usize::from(is_whole(line.as_bytes())),
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").map_err(failed)?;
        }
        Ok(Self { path: path.into(), known, damaged, file: Mutex::new(file) })
    }

    /// Records that are passed over though they were written whole.
    #[must_use]
    pub(crate) fn damaged(&self) -> usize {
        self.damaged
    }

    /// The verdict that an earlier run got.
    #[must_use]
    pub(crate) fn get(&self, key: &str) -> Option<Verdict> {
        self.known.get(key).copied()
    }

    /// Keeps a verdict for later runs.
    ///
    /// # Errors
    /// [`ServerError::Cache`].
    pub(crate) fn put(&self, key: &str, verdict: Verdict) -> Result<(), ServerError> {
        let failed = |source| ServerError::Cache { path: self.path.display().to_string(), source };
        let line = serde_json::to_string(&Line::new(key, verdict)).map_err(|e| failed(e.into()))?;
        // One write a line: two processes may append to one file.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }
}

/// The key of a question to a judge: everything that decides the answer.
#[must_use]
pub(crate) fn key(model: &str, messages: &[Value]) -> String {
    sha256_bytes(Value::from(vec![Value::from("judge 1"), model.into(), messages.into()]).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_flipped_bit_of_a_verdict_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verdicts.jsonl");
        VerdictCache::open(&path).unwrap().put("k", Verdict::Correct).unwrap();
        assert_eq!(VerdictCache::open(&path).unwrap().get("k"), Some(Verdict::Correct));
        let bytes = std::fs::read(&path).unwrap();
        let change = |from: &str, to: &str| {
            let text = String::from_utf8(bytes.clone()).unwrap().replacen(from, to, 1);
            OpenOptions::new().write(true).truncate(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
            VerdictCache::open(&path).unwrap()
        };
        for cache in [change("\"correct\"", "\"incorrect\""), change("\"k\"", "\"j\"")] {
            assert_eq!((cache.get("k"), cache.get("j"), cache.damaged()), (None, None, 1));
        }
    }
}
