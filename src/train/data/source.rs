//! Sources of a data set's rows.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::content::Content;
use super::data_row::DataRow;
use super::encode::Encoder;
use super::error::DataError;
use super::format;
use super::task_rows;
use crate::error::Result;
use crate::event::Progress;
use crate::task;
use crate::train::recipe::{DataFormat, DatasetRecipe};

/// Endings of files; anything else without a file is a task's name.
const FILES: &[&str] =
    &["jsonl", "ndjson", "json", "csv", "parquet", "gz", "zst", "bz2", "xz", "zip", "tar", "arrow", "tsv", "txt"];

/// Files that are no text, by their first bytes: what they are, and the cure.
const PACKED: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "a gzip file", "gunzip it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it with `zstd -d`"),
    (b"BZh", "a bzip2 file", "bunzip2 it"),
    (b"\xfd7zXZ\x00", "an xz file", "unxz it"),
    (b"PK\x03\x04", "a zip archive", "unzip it"),
    (b"ARROW1", "an Arrow file", "export it as JSON lines"),
    (b"\xff\xff\xff\xff", "an Arrow stream", "export it as JSON lines"),
];

/// A row, ready to be encoded.
#[derive(Debug)]
pub(super) struct Item {
    pub origin: Arc<str>,
    pub row: usize,
    pub content: Content,
}

/// The rows of a set.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub items: Vec<Item>,
    /// Documents of a task whose right answer is none of the choices.
    pub unanswered: usize,
}

/// Reads the rows of a data set.
///
/// # Errors
/// Missing files, rows that don't fit the format, with file, row and key.
pub(super) fn read(
    dataset: &DatasetRecipe,
    data_dir: Option<&Path>,
    encoder: &Encoder<'_>,
    progress: Progress<'_>,
) -> Result<Rows> {
    match locate(dataset, data_dir)? {
        None if is_hub_name(&dataset.path) => {
            Err(DataError::Hub { set: dataset.name.clone(), path: dataset.path.clone() }.into())
        }
        None => {
            let set = task::load(std::slice::from_ref(&dataset.path))?;
            for warning in set.warnings {
                progress.warn(warning);
            }
            let mut rows = Rows::default();
            for config in set.tasks {
                task_rows::read(config, dataset, data_dir, encoder, progress, &mut rows)?;
            }
            Ok(rows)
        }
        Some(path) => Ok(file(&path, dataset, encoder)?),
    }
}

/// Whether a path that is no file can only be a data set of the Hugging Face hub: `owner/name`.
fn is_hub_name(path: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let task = Path::new(path).extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
    let two = path.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name));
    two && !task && !Path::new(path).exists()
}

/// The data file that is meant; `None` for a task.
pub(in crate::train) fn locate(dataset: &DatasetRecipe, data_dir: Option<&Path>) -> Result<Option<PathBuf>, DataError> {
    let path = Path::new(&dataset.path);
    let ending = path.extension().and_then(|e| e.to_str()).map_or_else(String::new, str::to_ascii_lowercase);
    let set = || dataset.name.clone();
    let task_file = matches!(ending.as_str(), "yml" | "yaml");
    if dataset.format == DataFormat::Task || (dataset.format == DataFormat::Auto && task_file) {
        return Ok(None);
    }
    if task_file {
        let format = format::name(dataset.format);
        return Err(DataError::TaskAsFile { set: set(), path: dataset.path.clone(), format });
    }
    let mut places: Vec<PathBuf> =
        data_dir.filter(|_| path.is_relative()).map(|dir| dir.join(path)).into_iter().collect();
    places.push(path.to_owned());
    let found = places.iter().find(|place| place.is_file()).cloned();
    if found.is_none() && dataset.format == DataFormat::Auto && !FILES.contains(&ending.as_str()) {
        return Ok(None);
    }
    if found.is_none() && !FILES.contains(&ending.as_str()) && is_hub_name(&dataset.path) {
        return Err(DataError::Hub { set: set(), path: dataset.path.clone() });
    }
    if found.is_some() && dataset.split.is_some() {
        return Err(DataError::SplitOfFile { set: set(), path: dataset.path.clone() });
    }
    let data_dir = data_dir.is_some();
    found.map(Some).ok_or_else(|| DataError::NoFile { set: set(), path: dataset.path.clone(), places, data_dir })
}

fn file(path: &Path, dataset: &DatasetRecipe, encoder: &Encoder<'_>) -> Result<Rows> {
    if let Some((_, format, cure)) = packed(path) {
        return Err(DataError::Packed { set: dataset.name.clone(), path: path.to_owned(), format, cure }.into());
    }
    let records = task::read_records(path)?;
    let origin: Arc<str> = path.display().to_string().into();
    let record = |row, fields| DataRow { origin: &origin, row, fields };
    let detected = dataset.format == DataFormat::Auto;
    let format = match (dataset.format, records.first()) {
        (DataFormat::Auto, Some(first)) => format::detect(record(1, first))?,
        (format, _) => format,
    };
    let reading = format::Reading { format, detected, chat: encoder.asks_as_chat() };
    let mut items = Vec::with_capacity(records.len());
    for (index, fields) in records.iter().enumerate() {
        let content = format::read(reading, record(index + 1, fields))?;
        items.push(Item { origin: Arc::clone(&origin), row: index + 1, content });
    }
    Ok(Rows { items, unanswered: 0 })
}

/// Kind of a file that starts with a known magic number; reading reports files that can't be opened.
fn packed(path: &Path) -> Option<(&'static [u8], &'static str, &'static str)> {
    let mut start = Vec::new();
    crate::storage::input::open(path).ok()?.take(8).read_to_end(&mut start).ok()?;
    PACKED.iter().copied().find(|(mark, ..)| start.starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_are_distinguished_from_paths() {
        for (path, hub) in [
            ("tatsu-lab/alpaca", true),
            ("HuggingFaceH4/no_robots", true),
            ("fpb", false),
            ("tasks/own.yml", false),
            ("a/b/c", false),
            ("./a", false),
            ("src/train", false),
        ] {
            assert_eq!(is_hub_name(path), hub, "{path}");
        }
    }
}
