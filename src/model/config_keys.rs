//! Typed reads of `config.json`, with errors that name file, key and value.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Diagnose, ErrorKind};

/// Reasons why a config does not describe a decoder that we can run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("{} has no config.json", path.display())]
    NoConfig { path: PathBuf },
    #[error("{}: `{key}` is missing", file.display())]
    Missing { file: PathBuf, key: String },
    #[error("{}: `{key}` is {value}, expected {expected}", file.display())]
    Type { file: PathBuf, key: String, value: String, expected: &'static str },
    #[error("{}: model_type `{model_type}` is not supported", file.display())]
    Family { file: PathBuf, model_type: String, known: &'static [&'static str] },
    #[error("{}: `{key}` is {value}, which is not supported: {reason}", file.display())]
    Unsupported { file: PathBuf, key: String, value: String, reason: String },
}

impl Diagnose for ConfigError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoConfig { .. } => "give a Hugging Face model directory: weights and config.json".to_owned(),
            Self::Family { known, .. } => format!("families that the decoder knows: {}", known.join(", ")),
            Self::Missing { .. } | Self::Type { .. } => {
                "compare the file with the one that transformers writes for this model".to_owned()
            }
            Self::Unsupported { .. } => {
                "another value would give other results than the model's authors meant: serve this model elsewhere and \
                 score it through --base-url"
                    .to_owned()
            }
        };
        vec![hint]
    }
}

/// One JSON object of a config; absent and null keys read as `None`.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) file: &'a Path,
    /// Name of the object in messages: empty for the top, else `rope_scaling.` and the like.
    pub(super) inside: &'a str,
    pub(super) object: &'a Value,
}

impl<'a> Keys<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there, even as null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.object.get(key).is_some()
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        // Below 2^31, so that products of two never overflow. Some converters write counts as floats.
        let whole =
            value.as_u64().or_else(|| value.as_f64().filter(|f| *f >= 0.0 && f.fract() == 0.0).map(|f| f as u64));
        let count = whole.and_then(|count| usize::try_from(count).ok()).filter(|count| *count < 1 << 31);
        count.map(Some).ok_or_else(|| self.wrong(key, "a whole number"))
    }

    /// A count that must be there and not be 0.
    pub(super) fn size(&self, key: &str, default: Option<usize>) -> Result<usize, ConfigError> {
        match self.count(key)?.or(default) {
            None => Err(ConfigError::Missing { file: self.file.into(), key: self.name(key) }),
            Some(0) => Err(self.wrong(key, "a number above 0")),
            Some(size) => Ok(size),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().filter(|f| f.is_finite()).map(Some).ok_or_else(|| self.wrong(key, "a number"))
    }

    /// A number that must be there and be above 0.
    pub(super) fn positive(&self, key: &str, default: Option<f64>) -> Result<f64, ConfigError> {
        match self.number(key)?.or(default) {
            None => Err(ConfigError::Missing { file: self.file.into(), key: self.name(key) }),
            Some(number) if number > 0.0 => Ok(number),
            Some(_) => Err(self.wrong(key, "a number above 0")),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, "a string"))
    }

    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect());
        list.map(Some).ok_or_else(|| self.wrong(key, "a list of numbers"))
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        list.map(Some).ok_or_else(|| self.wrong(key, "a list of strings"))
    }

    /// A token id or a list of them.
    pub(super) fn tokens(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let token = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let list = match value {
            Value::Array(list) => list.iter().map(token).collect(),
            one => token(one).map(|id| vec![id]),
        };
        list.ok_or_else(|| self.wrong(key, "a token id or a list of token ids"))
    }

    pub(super) fn wrong(&self, key: &str, expected: &'static str) -> ConfigError {
        ConfigError::Type { file: self.file.into(), key: self.name(key), value: self.shown(key), expected }
    }

    pub(super) fn unsupported(&self, key: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Unsupported {
            file: self.file.into(),
            key: self.name(key),
            value: self.shown(key),
            reason: reason.into(),
        }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.inside)
    }

    /// The value as JSON, cut where it gets long.
    fn shown(&self, key: &str) -> String {
        let text = self.object.get(key).map_or_else(|| "absent".to_owned(), Value::to_string);
        if text.chars().count() > 60 { text.chars().take(57).chain("...".chars()).collect() } else { text }
    }
}
