//! Model references: `path[@revision][+adapter[@revision]]`, as text or as an object.

use std::fmt;
use std::str::FromStr;

use crate::error::{Diagnose, ErrorKind};

/// A model, and optionally an adapter on top of it, as a recipe names them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelReference {
    /// Local directory or repository id.
    pub path: String,
    /// Branch, tag or commit.
    pub revision: Option<String>,
    /// A LoRA adapter: path and revision.
    pub adapter: Option<(String, Option<String>)>,
}

impl ModelReference {
    /// Parses the text form.
    ///
    /// # Errors
    /// A message about the fault.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let split = |part: &str| -> Result<(String, Option<String>), String> {
            let mut pieces = part.split('@');
            let path = pieces.next().expect("a split has a first piece");
            let revision = pieces.next();
            if pieces.next().is_some() {
                return Err(format!("model reference `{text}` has more than one `@` in a part"));
            }
            if path.is_empty() || revision == Some("") {
                return Err(format!("model reference `{text}` has an empty part"));
            }
            Ok((path.to_owned(), revision.map(str::to_owned)))
        };
        let mut parts = text.split('+');
        let (path, revision) = split(parts.next().expect("a split has a first piece"))?;
        let adapter = parts.next().map(split).transpose()?;
        if parts.next().is_some() {
            return Err(format!("model reference `{text}` has more than one `+`"));
        }
        Ok(Self { path, revision, adapter })
    }

    /// The same model with an adapter on top.
    #[must_use]
    pub fn with_adapter(self, path: &str) -> Self {
        Self { adapter: Some((path.to_owned(), None)), ..self }
    }

    /// A reference to a plain directory.
    #[must_use]
    pub fn directory(path: &str) -> Self {
        Self { path: path.to_owned(), revision: None, adapter: None }
    }
}

/// A text that names no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReferenceError {
    message: String,
}

impl Diagnose for ReferenceError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }
}

impl FromStr for ModelReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text).map_err(|message| ReferenceError { message })
    }
}

impl fmt::Display for ModelReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = |path: &str, revision: &Option<String>| match revision {
            Some(revision) => write!(f, "{path}@{revision}"),
            None => write!(f, "{path}"),
        };
        part(&self.path, &self.revision)?;
        if let Some((path, revision)) = &self.adapter {
            part(&format!("+{path}"), revision)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_round_trip_and_bad_ones_are_refused() {
        for text in ["./a/b", "org/name", "org/name@main", "org/name@v1+me/lora@x", "a+b"] {
            assert_eq!(ModelReference::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "a+b+c", "a@b@c", "a@", "@b", "a+"] {
            assert!(ModelReference::parse(text).is_err(), "{text}");
        }
    }
}
