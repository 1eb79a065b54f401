//! The key-value part of a GGUF header.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::GgufError;

/// A metadata value; arrays are of one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Vec<String>),
}

/// All values by key.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    file: PathBuf,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// No values yet.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        Self { file: file.into(), values: BTreeMap::new() }
    }

    /// The file they come from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Adds a value.
    ///
    /// # Errors
    /// [`GgufError::DuplicateKey`].
    pub fn insert(&mut self, key: String, value: Value) -> Result<(), GgufError> {
        if self.values.contains_key(&key) {
            return Err(GgufError::DuplicateKey { file: self.file.clone(), key });
        }
        self.values.insert(key, value);
        Ok(())
    }

    /// A value of any type.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    fn wrong(&self, key: &str, expected: &'static str) -> GgufError {
        GgufError::WrongType { file: self.file.clone(), key: key.to_owned(), expected }
    }

    /// The error of a missing key.
    #[must_use]
    pub fn missing(&self, key: &str) -> GgufError {
        GgufError::MissingKey { file: self.file.clone(), key: key.to_owned() }
    }

    /// A text, if the key is there.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// A number that is not negative, if the key is there.
    ///
    /// # Errors
    /// [`GgufError::WrongType`]; a value for each layer is one too.
    pub fn count(&self, key: &str) -> Result<Option<u64>, GgufError> {
        let expected = "one number that is not negative";
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(number)) => Ok(Some(*number)),
            Some(Value::Signed(number)) => u64::try_from(*number).map(Some).map_err(|_| self.wrong(key, expected)),
            // Some writers repeat one value for every layer.
            Some(Value::Integers(numbers)) if numbers.windows(2).all(|pair| pair.first() == pair.last()) => {
                numbers.first().and_then(|n| u64::try_from(*n).ok()).map(Some).ok_or_else(|| self.wrong(key, expected))
            }
            Some(_) => Err(self.wrong(key, expected)),
        }
    }

    /// A finite number, if the key is there. An f32 is given as the shortest decimal that is it
    /// (1e-5 and not 9.999999747378752e-6), as the original config had it.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        let number = match self.values.get(key) {
            None => return Ok(None),
            Some(Value::F32(number)) => shortest(*number),
            Some(Value::F64(number)) => *number,
            Some(Value::Unsigned(number)) => *number as f64,
            Some(Value::Signed(number)) => *number as f64,
            Some(_) => f64::NAN,
        };
        if number.is_finite() { Ok(Some(number)) } else { Err(self.wrong(key, "a finite number")) }
    }

    /// A truth value, if the key is there.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn flag(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A list of texts, if the key is there.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(self.wrong(key, "a list of strings")),
        }
    }

    /// A list of integers, if the key is there.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Integers(numbers)) => Ok(Some(numbers)),
            Some(_) => Err(self.wrong(key, "a list of integers")),
        }
    }

    /// A list of numbers, if the key is there.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn floats(&self, key: &str) -> Result<Option<&[f64]>, GgufError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Floats(numbers)) => Ok(Some(numbers)),
            Some(_) => Err(self.wrong(key, "a list of numbers")),
        }
    }
}

/// The f64 nearest to the shortest decimal that reads as this f32.
#[must_use]
pub(crate) fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}
