//! A task with its documents.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::config::{DataFormat, TaskConfig};
use super::csv;
use super::error::TaskError;
use super::row::Doc;
use super::template::Templates;

/// Most values that rows may lack (a table of documents has a few columns that all of them share), unless
/// they have as many more: each gap becomes a null of its own, as in the harness.
const MOST_GAPS: usize = 500_000;
/// Largest data file, packed or not, and largest document, in bytes.
const MOST_BYTES: u64 = 4 << 30;
const LONGEST_ROW: usize = 16 << 20;

/// The rows of a split, all with the same columns; what a row lacks is null.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Split {
    pub columns: Vec<String>,
    pub rows: Vec<Doc>,
}

/// A task whose documents have been read.
#[derive(Debug)]
pub struct Task {
    config: TaskConfig,
    pub(super) templates: Templates,
    pub(super) evaluation: Split,
    /// The few-shot pool, with its indices applied.
    pub(super) pool: Vec<Doc>,
    warnings: Vec<String>,
}

impl Task {
    /// Reads the documents of a task: those to evaluate, and those to show as examples.
    ///
    /// Data files are looked up in `data_dir`, then beside the task file, then in the current
    /// directory, unless they are absolute.
    ///
    /// # Errors
    /// A missing or empty file, or a row that is no record, with its line.
    pub fn open(config: TaskConfig, data_dir: Option<&Path>) -> Result<Self, TaskError> {
        let templates = Templates::compile(&config)?;
        let split = config.evaluation_split().map_or_else(String::new, str::to_owned);
        let evaluation = read_split(&config, &split, data_dir)?;
        let mut warnings = Vec::new();
        let repeats = repeated_ids(&evaluation.rows);
        if repeats > 0 {
            warnings.push(format!("task `{}`: {repeats} documents of split `{split}` repeat an id", config.name));
        }
        let pool = fewshot_pool(&config, &split, &evaluation, data_dir)?;
        Ok(Self { config, templates, evaluation, pool, warnings })
    }

    /// [`open`](Self::open) with the documents of another split, such as the one to train on.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_split(mut config: TaskConfig, split: &str, data_dir: Option<&Path>) -> Result<Self, TaskError> {
        // What is asked is the test split; a document is then not among its own examples either.
        config.test_split = Some(split.to_owned());
        Self::open(config, data_dir)
    }

    /// Settings of the task file.
    #[must_use]
    pub fn config(&self) -> &TaskConfig {
        &self.config
    }

    /// The documents to evaluate.
    #[must_use]
    pub fn documents(&self) -> &[Map<String, Value>] {
        &self.evaluation.rows
    }

    /// Documents that can be shown as examples.
    #[must_use]
    pub fn fewshot_documents(&self) -> usize {
        self.pool.len()
    }

    /// Oddities of the data, counted.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The few-shot split, else inline samples, else training, validation or test, as in the harness.
///
/// A pool that nobody named may be missing: then there is none, which only matters with shots.
fn fewshot_pool(
    config: &TaskConfig,
    evaluated: &str,
    evaluation: &Split,
    data_dir: Option<&Path>,
) -> Result<Vec<Doc>, TaskError> {
    let wanted = config.num_fewshot.is_some_and(|n| n > 0);
    let rows = if let (None, Some(samples)) = (&config.fewshot.split, &config.fewshot.samples) {
        samples.clone()
    } else {
        let named = config.fewshot.split.as_deref();
        let split = named.or(config.training_split.as_deref()).or(config.validation_split.as_deref());
        let split = split.or(config.test_split.as_deref()).unwrap_or("");
        if split == evaluated {
            evaluation.rows.clone()
        } else {
            match read_split(config, split, data_dir) {
                Ok(split) => split.rows,
                Err(TaskError::NoDataFile { .. } | TaskError::NoSplit { .. }) if !wanted => Vec::new(),
                Err(error) => return Err(error),
            }
        }
    };
    let Some(indices) = &config.fewshot.indices else { return Ok(rows) };
    let chosen: Option<Vec<Doc>> = indices.iter().map(|i| rows.get(*i).cloned()).collect();
    chosen.ok_or_else(|| TaskError::Settings {
        task: config.name.clone(),
        message: format!("`fewshot_indices` go beyond the {} documents of the few-shot split", rows.len()),
    })
}

fn repeated_ids(rows: &[Doc]) -> usize {
    let mut seen = BTreeSet::new();
    rows.iter().filter_map(|row| row.get("id")).filter(|id| !seen.insert(id.to_string())).count()
}

fn read_split(config: &TaskConfig, split: &str, data_dir: Option<&Path>) -> Result<Split, TaskError> {
    let Some(files) = config.data_files.get(split) else {
        return Err(TaskError::NoSplit {
            task: config.name.clone(),
            split: split.to_owned(),
            known: config.data_files.keys().cloned().collect(),
        });
    };
    let mut rows = Vec::new();
    let mut paths = Vec::new();
    for file in files {
        let path = locate(config, split, file, data_dir)?;
        rows.extend(read_file(&path, config.format)?);
        paths.push(path);
    }
    let mut columns: Vec<String> = Vec::new();
    let mut known = BTreeSet::new();
    for row in &rows {
        for key in row.keys() {
            if !known.contains(key) {
                known.insert(key.clone());
                columns.push(key.clone());
            }
        }
    }
    let present: usize = rows.iter().map(Map::len).sum();
    let missing = rows.len().saturating_mul(columns.len()).saturating_sub(present);
    if missing > MOST_GAPS.max(4 * present) {
        let (rows, columns) = (rows.len(), columns.len());
        return Err(TaskError::TooWide { paths, rows, columns });
    }
    if missing > 0 {
        for row in &mut rows {
            let mut whole = Doc::new();
            for column in &columns {
                whole.insert(column.clone(), row.remove(column).unwrap_or(Value::Null));
            }
            *row = whole;
        }
    }
    Ok(Split { columns, rows })
}

fn locate(config: &TaskConfig, split: &str, file: &str, data_dir: Option<&Path>) -> Result<PathBuf, TaskError> {
    config.locate(file, data_dir).map_err(|places| TaskError::NoDataFile {
        task: config.name.clone(),
        split: split.to_owned(),
        file: file.to_owned(),
        places,
        data_dir: data_dir.is_some(),
    })
}

impl TaskConfig {
    /// Finds a data file of the task: in `data_dir`, beside the task file, or in the current
    /// directory, unless it is absolute.
    ///
    /// # Errors
    /// The places (at least one) where it is not.
    pub fn locate(&self, file: &str, data_dir: Option<&Path>) -> Result<PathBuf, Vec<PathBuf>> {
        let path = Path::new(file);
        let mut places = Vec::new();
        if !path.is_absolute() {
            places.extend(data_dir.map(|dir| dir.join(path)));
            places.extend(self.folder.as_ref().map(|dir| dir.join(path)));
        }
        places.push(path.to_owned());
        places.iter().find(|place| place.is_file()).cloned().ok_or(places)
    }
}

/// The records of a data file, whose ending says how it is written: `.csv`, `.parquet`, else JSON
/// lines or one JSON array; `.gz` may follow.
///
/// # Errors
/// A row that can't be read, with its line; a file without rows.
pub(crate) fn read_records(path: &Path) -> Result<Vec<Map<String, Value>>, TaskError> {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().to_ascii_lowercase());
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let format = match Path::new(name).extension().and_then(|e| e.to_str()) {
        Some("csv") => DataFormat::Csv,
        Some("parquet") => DataFormat::Parquet,
        _ => DataFormat::Json,
    };
    read_file(path, format)
}

/// The records of a data file.
///
/// # Errors
/// A row that can't be read, with its line; a file without rows.
fn read_file(path: &Path, format: DataFormat) -> Result<Vec<Doc>, TaskError> {
    #[cfg(feature = "parquet")]
    if format == DataFormat::Parquet {
        let rows = super::parquet_rows::read(path)?;
        return if rows.is_empty() { Err(TaskError::Empty { path: path.into() }) } else { Ok(rows) };
    }
    if format == DataFormat::Parquet {
        return Err(TaskError::NoParquet { path: path.into() });
    }
    let bytes = read_bytes(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.split(|b| *b == b'\n').count();
        let message = "the row is not UTF-8 (convert the file, for example with iconv)".to_owned();
        TaskError::Row { path: path.into(), line, message }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let fault = |line: usize, message: String| TaskError::Row { path: path.into(), line, message };
    let rows = match format {
        DataFormat::Csv => csv::rows(text).map_err(|(line, message)| fault(line, message))?,
        _ if text.trim_start().starts_with('[') => {
            let values: Vec<Value> = serde_json::from_str(text).map_err(|e| fault(e.line(), e.to_string()))?;
            let record = |(i, value)| match value {
                Value::Object(row) => Ok(row),
                _ => Err(fault(1, format!("item {i} of the list is no object"))),
            };
            values.into_iter().enumerate().map(record).collect::<Result<Vec<Doc>, _>>()?
        }
        _ => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            let record = |(i, line): (usize, &str)| match serde_json::from_str(line) {
                Ok(Value::Object(row)) => Ok(row),
                Ok(_) => Err(fault(i + 1, "the row is no JSON object".to_owned())),
                Err(error) => Err(fault(i + 1, format!("the row is not valid JSON: {error}"))),
            };
            lines.map(record).collect::<Result<Vec<Doc>, _>>()?
        }
    };
    if rows.is_empty() {
        return Err(TaskError::Empty { path: path.into() });
    }
    if text.len() > LONGEST_ROW
        && let Some(place) = rows.iter().position(|row| row_bytes(row) > LONGEST_ROW)
    {
        let message = format!("the row has more than {} MiB of text, which no prompt takes", LONGEST_ROW >> 20);
        return Err(fault(place + 1, message));
    }
    Ok(rows)
}

fn row_bytes(row: &Doc) -> usize {
    fn bytes(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(bytes).sum::<usize>() + 8 * items.len(),
            Value::Object(map) => row_bytes(map),
            _ => 8,
        }
    }
    row.iter().map(|(key, value)| key.len() + bytes(value)).sum()
}

/// The content of a file, unpacked where it was packed with gzip, as the harness does.
fn read_bytes(path: &Path) -> Result<Vec<u8>, TaskError> {
    let io = |source| TaskError::Io { path: path.into(), source };
    let fault = |message: String| TaskError::Row { path: path.into(), line: 0, message };
    let file = crate::storage::input::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.starts_with(b"\x1f\x8b") {
        let mut text = Vec::new();
        let reader = flate2::read::MultiGzDecoder::new(bytes.as_slice());
        let read = reader.take(MOST_BYTES + 1).read_to_end(&mut text);
        read.map_err(|error| fault(format!("the gzip file is damaged: {error}")))?;
        bytes = text;
    }
    let packed: &[(&[u8], &str)] = &[
        (b"\x28\xb5\x2f\xfd", "zstd (`unzstd FILE`)"),
        (b"\xfd7zXZ\x00", "xz (`unxz FILE`)"),
        (b"BZh", "bzip2 (`bunzip2 FILE`)"),
        (b"PK\x03\x04", "zip (`unzip FILE`)"),
    ];
    if let Some((_, name)) = packed.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(fault(format!("the file is packed with {name}; unpack it first, or pack it with gzip")));
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(fault(format!("the file has more than {} GiB; split it up", MOST_BYTES >> 30)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<Doc>, TaskError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        std::fs::write(&path, text).unwrap();
        read_file(&path, DataFormat::Json)
    }

    #[test]
    fn rows_are_read_or_refused_with_their_line() {
        assert_eq!(read(b"{\"a\": 1}\n\n{\"a\": 2}\n").unwrap().len(), 2);
        assert_eq!(read(b"[{\"a\": 1}, {\"a\": 2}]").unwrap().len(), 2);
        for (text, line) in
            [(&b"{\"a\": 1}\n{\"a\": \n"[..], 2), (b"{\"a\": 1}\n\n7\n", 3), (b"{\"a\": 1}\n{\"a\": \"\xff\"}\n", 2)]
        {
            let error = read(text).unwrap_err();
            assert!(matches!(&error, TaskError::Row { line: found, .. } if *found == line), "{error}");
        }
        assert!(matches!(read(b"\n"), Err(TaskError::Empty { .. })));
    }
}
