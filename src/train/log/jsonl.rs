//! The log as JSON lines.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::LogError;
use crate::storage::append_log;

/// An append-only file of JSON objects with a `step`.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    file: File,
}

impl LineFile {
    /// Opens the file with these lines in it and no others. Where it begins with them it is cut after them; anything else,
    /// as a line that a crash or a bad disk spoilt, is written anew.
    pub(super) fn open(path: &Path, kept: &[Map<String, Value>]) -> Result<Self, LogError> {
        let (mut file, bytes) = append_log::open_own(path).map_err(LogError::new("open", path))?;
        let text: String = kept.iter().map(line).collect();
        if bytes.starts_with(text.as_bytes()) {
            append_log::cut(&mut file, text.len() as u64).map_err(LogError::new("cut", path))?;
        } else {
            append_log::cut(&mut file, 0)
                .and_then(|()| file.write_all(text.as_bytes()))
                .map_err(LogError::new("write", path))?;
        }
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Appends an object. It goes out in one write, so that a crash leaves it whole or as a line without
    /// an end.
    pub(super) fn append(&mut self, object: &Map<String, Value>) -> Result<(), LogError> {
        self.file.write_all(line(object).as_bytes()).map_err(LogError::new("write", &self.path))
    }

    pub(super) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(LogError::new("sync", &self.path))
    }
}

fn line(object: &Map<String, Value>) -> String {
    let mut text = String::from("{");
    for (index, (key, value)) in object.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        text.push_str(&format!("{comma}{}:{value}", Value::from(key.as_str())));
    }
    text.push_str("}\n");
    text
}
