//! Regular expressions over module paths, anchored as PEFT anchors them.

use std::fmt;

use regex::Regex;

/// A pattern of module paths. Two patterns are equal when their texts are.
#[derive(Clone)]
pub struct ModulePattern {
    text: String,
    regex: Regex,
}

impl ModulePattern {
    /// Matches whole paths only, as `target_modules` and `exclude_modules` do when they are strings.
    ///
    /// # Errors
    /// What is wrong with the regular expression.
    pub fn whole(text: &str) -> Result<Self, regex::Error> {
        Ok(Self { text: text.to_owned(), regex: Regex::new(&format!("^(?:{text})$"))? })
    }

    /// Matches whole paths and their ends after a dot, as the keys of `rank_pattern` and
    /// `alpha_pattern` do.
    ///
    /// # Errors
    /// What is wrong with the regular expression.
    pub fn tail(text: &str) -> Result<Self, regex::Error> {
        Ok(Self { text: text.to_owned(), regex: Regex::new(&format!(r"^(?:.*\.)?(?:{text})$"))? })
    }

    /// The pattern as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a module's path matches.
    #[must_use]
    pub fn matches(&self, module: &str) -> bool {
        self.regex.is_match(module)
    }
}

impl PartialEq for ModulePattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl fmt::Debug for ModulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
