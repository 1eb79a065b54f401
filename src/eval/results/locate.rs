//! The results file that a path stands for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::ResultsError;
use super::json::parse;

/// Keys of `model_args` that decide which model it is; others say how it was run.
const IDENTITY: [&str; 8] = ["pretrained", "model", "peft", "delta", "revision", "subfolder", "gguf_file", "adapter"];

/// The newest results file of a directory, else of its sub-directories; a file is itself.
pub(super) fn locate(path: &Path) -> Result<PathBuf, ResultsError> {
    let read = |source| ResultsError::Read { path: path.into(), source };
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(path.into());
    }
    let own = results_files(path);
    let files = if own.is_empty() {
        entries(path).into_iter().filter(|entry| entry.is_dir()).flat_map(|folder| results_files(&folder)).collect()
    } else {
        own
    };
    newest_of_one_model(path, files)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or_else(|_| Vec::new(), |list| list.flatten().map(|entry| entry.path()).collect())
}

fn results_files(folder: &Path) -> Vec<PathBuf> {
    let fits = |path: &PathBuf| {
        let name = file_name(path);
        // `results.json` is what lm-eval wrote until 0.4.2.
        path.extension().is_some_and(|e| e == "json") && (name.starts_with("results_") || name == "results.json")
    };
    entries(folder).into_iter().filter(fits).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn newest_of_one_model(folder: &Path, mut files: Vec<PathBuf>) -> Result<PathBuf, ResultsError> {
    // By the time in the name, then by name: a name may begin with anything.
    let order = |path: &PathBuf| {
        let name = file_name(path);
        let time = name.trim_end_matches(".json").rsplit_once('_').map_or("", |(_, time)| time).to_owned();
        (time, name, path.clone())
    };
    files.sort_by_key(order);
    if files.len() > 1 {
        let mut models: BTreeMap<String, PathBuf> = BTreeMap::new();
        for file in &files {
            models.insert(model(file)?, file.clone());
        }
        if models.len() > 1 {
            let files = models.into_values().collect();
            return Err(ResultsError::SeveralModels { path: folder.into(), files });
        }
    }
    files.pop().ok_or_else(|| ResultsError::None { path: folder.into() })
}

/// Model that a results file names; one that names none is the model of its folder.
fn model(file: &Path) -> Result<String, ResultsError> {
    let text = crate::storage::input::read_text(file, crate::storage::input::LIST_BYTES)
        .map_err(|source| ResultsError::Read { path: file.into(), source })?;
    let value = parse(&text).map_err(|source| ResultsError::Json { path: file.into(), source })?;
    let named = value.get("model_name").and_then(Value::as_str).unwrap_or("");
    let arguments = match value.pointer("/config/model_args") {
        Some(Value::Object(map)) => identity(map),
        Some(Value::String(text)) => {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            identity(&pairs.map(|(key, value)| (key.trim().to_owned(), Value::from(value.trim()))).collect())
        }
        _ => String::new(),
    };
    if named.is_empty() && arguments.is_empty() {
        return Ok(file.parent().unwrap_or(file).display().to_string());
    }
    Ok(format!("{named} {arguments}"))
}

fn identity(arguments: &Map<String, Value>) -> String {
    let named = IDENTITY.iter().filter_map(|key| Some(format!("{key}={}", arguments.get(*key)?)));
    named.collect::<Vec<_>>().join(",")
}
