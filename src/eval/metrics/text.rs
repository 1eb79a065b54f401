//! Comparing texts: `exact_match` with the harness's options.

use serde_json::{Map, Value};

use super::registry::MetricError;
use crate::eval::filter::compile;
use crate::python::regex::{PythonRegex, SearchError};

/// The options of `exact_match`; applied in the order of the fields, to both sides.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExactMatch {
    regexes_to_ignore: Vec<PythonRegex>,
    ignore_case: bool,
    ignore_punctuation: bool,
    ignore_numbers: bool,
}

impl ExactMatch {
    /// Reads the options; other keys have been refused before.
    ///
    /// # Errors
    /// A value of the wrong type, or a pattern that cannot be used.
    pub(crate) fn new(arguments: &Map<String, Value>) -> Result<Self, MetricError> {
        let flag = |key: &str| match arguments.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(MetricError::argument("exact_match", key, "true or false", other)),
        };
        let regexes_to_ignore = match arguments.get("regexes_to_ignore") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => list
                .iter()
                .map(|pattern| {
                    let text = pattern.as_str().ok_or_else(|| {
                        MetricError::argument("exact_match", "regexes_to_ignore", "a list of patterns", pattern)
                    })?;
                    compile(text).map_err(|reason| MetricError::Pattern {
                        metric: "exact_match".to_owned(),
                        pattern: text.to_owned(),
                        reason,
                    })
                })
                .collect::<Result<_, _>>()?,
            Some(other) => {
                return Err(MetricError::argument("exact_match", "regexes_to_ignore", "a list of patterns", other));
            }
        };
        Ok(Self {
            regexes_to_ignore,
            ignore_case: flag("ignore_case")?,
            ignore_punctuation: flag("ignore_punctuation")?,
            ignore_numbers: flag("ignore_numbers")?,
        })
    }

    fn normalise(&self, text: &str) -> Result<String, SearchError> {
        let mut text = text.to_owned();
        for pattern in &self.regexes_to_ignore {
            text = pattern.replace(&text, 0, |_| String::new())?;
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        if self.ignore_punctuation {
            text.retain(|c| !c.is_ascii_punctuation());
        }
        if self.ignore_numbers {
            text.retain(|c| !c.is_ascii_digit());
        }
        Ok(text)
    }

    /// Whether a response equals any of the right answers.
    ///
    /// # Errors
    /// A pattern that takes too many steps on one of the texts.
    pub(crate) fn matches(&self, response: &str, references: &[String]) -> Result<bool, SearchError> {
        let response = self.normalise(response)?;
        for reference in references {
            if self.normalise(reference)? == response {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
