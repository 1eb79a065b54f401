//! Rows of parquet files as JSON.

use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Number, Value};

use super::error::TaskError;
use super::row::Doc;

/// All rows of a file.
///
/// # Errors
/// I/O errors, and those of the parquet reader.
pub(super) fn read(path: &Path) -> Result<Vec<Doc>, TaskError> {
    let file = crate::storage::input::open(path).map_err(|source| TaskError::Io { path: path.into(), source })?;
    let fault = |line: usize, error: parquet::errors::ParquetError| TaskError::Row {
        path: path.into(),
        line,
        message: error.to_string(),
    };
    let reader = SerializedFileReader::new(file).map_err(|e| fault(0, e))?;
    let rows = reader.get_row_iter(None).map_err(|e| fault(0, e))?;
    rows.enumerate()
        .map(|(i, row)| {
            let row = row.map_err(|e| fault(i + 1, e))?;
            Ok(row.get_column_iter().map(|(name, field)| (name.clone(), json(field))).collect())
        })
        .collect()
}

fn json(field: &Field) -> Value {
    let float = |x: f64| Number::from_f64(x).map_or(Value::Null, Value::Number);
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Bool(*value),
        Field::Byte(value) => Value::from(*value),
        Field::Short(value) => Value::from(*value),
        Field::Int(value) => Value::from(*value),
        Field::Long(value) => Value::from(*value),
        Field::UByte(value) => Value::from(*value),
        Field::UShort(value) => Value::from(*value),
        Field::UInt(value) => Value::from(*value),
        Field::ULong(value) => Value::from(*value),
        Field::Float(value) => float(f64::from(*value)),
        Field::Double(value) => float(*value),
        Field::Str(value) => Value::String(value.clone()),
        Field::Bytes(value) => Value::String(String::from_utf8_lossy(value.data()).into_owned()),
        Field::Group(row) => {
            Value::Object(row.get_column_iter().map(|(name, field)| (name.clone(), json(field))).collect::<Map<_, _>>())
        }
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(json).collect()),
        other => Value::String(other.to_string()),
    }
}
