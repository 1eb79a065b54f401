//! One row of a data file, read key by key.

use serde_json::{Map, Value};

use super::error::DataError;

/// A row and where it is from.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    /// The file.
    pub origin: &'a str,
    /// Its number, from 1.
    pub row: usize,
    /// What it says.
    pub fields: &'a Map<String, Value>,
}

impl<'a> Record<'a> {
    /// What a key holds; null counts as absent.
    pub fn optional(self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// What a key holds.
    pub fn required(self, key: &str) -> Result<&'a Value, DataError> {
        self.optional(key).ok_or_else(|| DataError::MissingKey {
            origin: self.origin.to_owned(),
            row: self.row,
            key: key.to_owned(),
            found: self.fields.keys().cloned().collect(),
        })
    }

    /// A text.
    pub fn text(self, key: &str) -> Result<&'a str, DataError> {
        let value = self.required(key)?;
        value.as_str().ok_or_else(|| self.wrong(key, value, "a text"))
    }

    /// A text, empty where the key is absent.
    pub fn text_or_empty(self, key: &str) -> Result<&'a str, DataError> {
        if self.optional(key).is_some() { self.text(key) } else { Ok("") }
    }

    /// A list.
    pub fn list(self, key: &str) -> Result<&'a [Value], DataError> {
        let value = self.required(key)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| self.wrong(key, value, "a list"))
    }

    /// An object in a list of this row, as a record that is named after its place.
    pub fn entry(self, key: &str, place: usize, value: &'a Value) -> Result<Self, DataError> {
        let fields = value.as_object().ok_or_else(|| self.wrong(&format!("{key}[{place}]"), value, "an object"))?;
        Ok(Self { fields, ..self })
    }

    pub fn wrong(self, key: &str, found: &Value, wanted: &'static str) -> DataError {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        DataError::WrongType { origin: self.origin.to_owned(), row: self.row, key: key.to_owned(), found, wanted }
    }

    pub fn fault(self, key: &str, message: String) -> DataError {
        DataError::Value { origin: self.origin.to_owned(), row: self.row, key: key.to_owned(), message }
    }
}
