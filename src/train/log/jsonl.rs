//! The log as JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::LogError;

/// An append-only file of JSON objects with a `step`.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    file: File,
}

impl LineFile {
    /// Opens the file and returns the lines that stay in it: none, or those up to `resume_step`. A line
    /// that a crash cut off goes, with all after it.
    pub(super) fn open(path: &Path, resume_step: Option<u64>) -> Result<(Self, Vec<Map<String, Value>>), LogError> {
        let (mut file, bytes) = open(path)?;
        let mut kept = 0;
        let mut lines = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let object: Option<Map<String, Value>> =
                line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
            let Some(object) = object else { break };
            let step = object.get("step").and_then(Value::as_u64);
            if step.is_none() || step > resume_step {
                break;
            }
            kept += line.len() as u64;
            lines.push(object);
        }
        cut(&mut file, kept).map_err(LogError::new("cut", path))?;
        Ok((Self { path: path.to_path_buf(), file }, lines))
    }

    /// Appends an object. It goes out in one write, so that a crash leaves it whole or as a line without
    /// an end.
    pub(super) fn append(&mut self, object: &Map<String, Value>) -> Result<(), LogError> {
        let mut text = serde_json::to_string(object).unwrap_or_default();
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(LogError::new("write", &self.path))
    }

    pub(super) fn sync(&self) -> Result<(), LogError> {
        self.file.sync_data().map_err(LogError::new("sync", &self.path))
    }
}

/// Opens a log file, made with its directory if need be, and reads what is in it.
pub(super) fn open(path: &Path) -> Result<(File, Vec<u8>), LogError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(LogError::new("create the directory of", path))?;
    }
    let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    let mut file = open.map_err(LogError::new("open", path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(LogError::new("read", path))?;
    Ok((file, bytes))
}

/// Keeps the first `length` bytes and goes on after them.
pub(super) fn cut(file: &mut File, length: u64) -> std::io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    Ok(())
}
