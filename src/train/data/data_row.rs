//! One row of a data file, read key by key.

use serde_json::{Map, Value};

use super::error::DataError;

/// A row and where it is from.
#[derive(Clone, Copy)]
pub(super) struct DataRow<'a> {
    /// The file.
    pub origin: &'a str,
    /// Row number, from 1.
    pub row: usize,
    pub fields: &'a Map<String, Value>,
}

impl<'a> DataRow<'a> {
    /// Value of a key; null counts as absent.
    pub(crate) fn optional(self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// Value of a key.
    pub(crate) fn required(self, key: &str) -> Result<&'a Value, DataError> {
        let (origin, row) = (self.origin.to_owned(), self.row);
        match self.fields.get(key) {
            Some(Value::Null) => Err(DataError::Null { origin, row, key: key.to_owned() }),
            Some(value) => Ok(value),
            None => {
                let found = self.fields.keys().cloned().collect();
                Err(DataError::MissingKey { origin, row, key: key.to_owned(), found })
            }
        }
    }

    /// Value of a key, unless it is null, or an empty text, list or object.
    pub(crate) fn filled(self, key: &str) -> Option<&'a Value> {
        self.optional(key).filter(|value| match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        })
    }

    /// Value of a key that must be a text.
    pub(crate) fn text(self, key: &str) -> Result<&'a str, DataError> {
        let value = self.required(key)?;
        value.as_str().ok_or_else(|| self.wrong(key, value, "a text"))
    }

    /// A text, empty where the key is absent.
    pub(crate) fn text_or_empty(self, key: &str) -> Result<&'a str, DataError> {
        if self.optional(key).is_some() { self.text(key) } else { Ok("") }
    }

    /// Value of a key that must be a list.
    pub(crate) fn list(self, key: &str) -> Result<&'a [Value], DataError> {
        let value = self.required(key)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| self.wrong(key, value, "a list"))
    }

    /// An object in a list of this row, as a record that is named after its place.
    pub(crate) fn entry(self, key: &str, place: usize, value: &'a Value) -> Result<Self, DataError> {
        let fields = value.as_object().ok_or_else(|| self.wrong(&format!("{key}[{place}]"), value, "an object"))?;
        Ok(Self { fields, ..self })
    }

    pub(crate) fn wrong(self, key: &str, found: &Value, wanted: &'static str) -> DataError {
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

    /// A key that would change what is learnt, and that nothing here follows.
    pub(crate) fn refuse(self, key: &str, reason: &'static str, cure: &'static str) -> DataError {
        DataError::Refused { origin: self.origin.to_owned(), row: self.row, key: key.to_owned(), reason, cure }
    }

    pub(crate) fn fault(self, key: &str, message: String) -> DataError {
        DataError::Value { origin: self.origin.to_owned(), row: self.row, key: key.to_owned(), message }
    }
}
