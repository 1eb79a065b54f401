//! Regular expressions over module paths, anchored as PEFT anchors them.

use crate::python::regex::{PatternError, PythonRegex, SearchError};

/// A pattern of module paths. Two patterns are equal when they were written alike.
#[derive(Debug, Clone, PartialEq)]
pub struct ModulePattern {
    text: String,
    regex: PythonRegex,
}

/// Prefix that PEFT puts before the keys of `rank_pattern` and `alpha_pattern`.
const TAIL: &str = r"(.*\.)?(";

impl ModulePattern {
    /// Matches whole paths only, as `target_modules` and `exclude_modules` do when they are strings.
    ///
    /// # Errors
    /// Patterns that Python's `re` refuses.
    pub fn whole(text: &str) -> Result<Self, PatternError> {
        Ok(Self { text: text.to_owned(), regex: PythonRegex::whole(text)? })
    }

    /// Matches whole paths and their ends after a dot, as the keys of `rank_pattern` and
    /// `alpha_pattern` do.
    ///
    /// # Errors
    /// Patterns that Python's `re` refuses.
    pub fn tail(text: &str) -> Result<Self, PatternError> {
        let regex = PythonRegex::at_start(&format!("{TAIL}{text})$"));
        let regex = regex.map_err(|fault| {
            let position = fault.position.saturating_sub(TAIL.len());
            PatternError { position, ..fault }
        })?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// The pattern as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a module's path matches.
    ///
    /// # Errors
    /// A search that takes too many steps.
    pub fn matches(&self, module: &str) -> Result<bool, SearchError> {
        self.regex.is_match(module)
    }
}
