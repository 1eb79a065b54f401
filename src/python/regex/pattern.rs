//! A compiled pattern and its searches.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use fancy_regex::{Error as EngineError, Regex, RegexBuilder};

use super::error::{PatternError, STEP_LIMIT, SearchError};
use super::translate::{Translation, translate};

/// Position that a pattern must match at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchoring {
    /// `re.search`.
    Anywhere,
    /// `re.match`.
    Start,
    /// `re.fullmatch`.
    Whole,
}

/// A compiled pattern. Two are equal when they were written alike.
#[derive(Clone)]
pub(crate) struct PythonRegex {
    text: String,
    anchoring: Anchoring,
    names: Arc<[(String, usize)]>,
    /// By what the text asks for: `$` before a line break, then words that are not ASCII. Patterns
    /// without `$` or `\b` have fewer.
    programs: Arc<[Program]>,
    by_line_break: bool,
    by_word: bool,
    groups: usize,
}

/// The pattern under one reading of `$` and `\b`.
struct Program {
    search: Regex,
    /// The same, but not empty where the search starts; for patterns that can match nothing.
    advance: Option<Regex>,
}

/// A match: the byte ranges of the whole and of every group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<'t> {
    text: &'t str,
    groups: Vec<Option<Range<usize>>>,
}

impl<'t> Found<'t> {
    /// A group's text, 0 being the whole match; nothing where the group took no part.
    #[must_use]
    pub(crate) fn group(&self, index: usize) -> Option<&'t str> {
        self.text.get(self.groups.get(index)?.clone()?)
    }

    /// Number of groups, the whole match among them.
    #[must_use]
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Bytes of the whole match.
    #[must_use]
    pub(crate) fn range(&self) -> Range<usize> {
        self.groups.first().cloned().flatten().unwrap_or(0..0)
    }
}

impl PythonRegex {
    /// A pattern that may match anywhere, as for `re.search`, `re.findall` and `re.sub`.
    ///
    /// # Errors
    /// What Python's `re` or the engine has against it.
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternError> {
        Self::compile(pattern, Anchoring::Anywhere)
    }

    /// A pattern that has to match a text from its start, as `re.match` does.
    ///
    /// # Errors
    /// As of [`PythonRegex::new`].
    pub(crate) fn at_start(pattern: &str) -> Result<Self, PatternError> {
        Self::compile(pattern, Anchoring::Start)
    }

    /// A pattern that has to match a whole text, as `re.fullmatch` does.
    ///
    /// # Errors
    /// As of [`PythonRegex::new`].
    pub(crate) fn whole(pattern: &str) -> Result<Self, PatternError> {
        Self::compile(pattern, Anchoring::Whole)
    }

    fn compile(pattern: &str, anchoring: Anchoring) -> Result<Self, PatternError> {
        let Translation { names, groups, has_line_end, has_word_boundary, may_be_empty, .. } =
            translate(pattern, false, false)?;
        let mut programs = Vec::new();
        for word in [false, true].into_iter().take(1 + usize::from(has_word_boundary)) {
            for line in [false, true].into_iter().take(1 + usize::from(has_line_end)) {
                let body = translate(pattern, line, word)?.text;
                let body = match anchoring {
                    Anchoring::Anywhere => body,
                    Anchoring::Start => format!(r"\A(?:{body})"),
                    Anchoring::Whole => format!(r"\A(?:{body})\z"),
                };
                // Not empty at its start: `\G` is where the search began.
                let advance = may_be_empty.then(|| build(&format!(r"(?:{body})(?!\G)"))).transpose()?;
                programs.push(Program { search: build(&body)?, advance });
            }
        }
        Ok(Self {
            text: pattern.to_owned(),
            anchoring,
            names: names.into(),
            programs: programs.into(),
            by_line_break: has_line_end,
            by_word: has_word_boundary,
            groups,
        })
    }

    /// Number of groups, the whole match among them.
    #[must_use]
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// The number of a named group.
    #[must_use]
    pub(crate) fn group_number(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
    }

    /// Whether the pattern matches.
    ///
    /// # Errors
    /// [`SearchError`] after too many steps.
    pub(crate) fn is_match(&self, text: &str) -> Result<bool, SearchError> {
        self.program(text).search.is_match(text).map_err(|error| self.given_up(&error, text))
    }

    /// The first match.
    ///
    /// # Errors
    /// [`SearchError`] after too many steps.
    pub(crate) fn find<'t>(&self, text: &'t str) -> Result<Option<Found<'t>>, SearchError> {
        self.find_from(text, 0, false)
    }

    /// All matches from left to right, as `re.finditer` gives them.
    ///
    /// # Errors
    /// [`SearchError`] after too many steps.
    pub(crate) fn find_all<'t>(&self, text: &'t str) -> Result<Vec<Found<'t>>, SearchError> {
        let (mut found, mut from, mut advance) = (Vec::new(), 0, false);
        while let Some(next) = self.find_from(text, from, advance)? {
            let range = next.range();
            (from, advance) = (range.end, range.is_empty());
            found.push(next);
            if self.anchoring != Anchoring::Anywhere {
                break;
            }
        }
        Ok(found)
    }

    /// The text with its matches replaced, the first `count` of them unless that is 0: `re.sub`.
    ///
    /// # Errors
    /// [`SearchError`] after too many steps.
    pub(crate) fn replace(
        &self,
        text: &str,
        count: usize,
        mut replacement: impl FnMut(&Found<'_>) -> String,
    ) -> Result<String, SearchError> {
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for found in self.find_all(text)?.iter().take(if count == 0 { usize::MAX } else { count }) {
            let range = found.range();
            out.push_str(&text[copied..range.start]);
            out.push_str(&replacement(found));
            copied = range.end;
        }
        out.push_str(&text[copied..]);
        Ok(out)
    }

    fn find_from<'t>(&self, text: &'t str, from: usize, advance: bool) -> Result<Option<Found<'t>>, SearchError> {
        let program = self.program(text);
        let regex = program.advance.as_ref().filter(|_| advance).unwrap_or(&program.search);
        let found = regex.captures_from_pos(text, from).map_err(|error| self.given_up(&error, text))?;
        let groups = |captures: fancy_regex::Captures<'t>| {
            (0..captures.len()).map(|group| captures.get(group).map(|group| group.range())).collect()
        };
        Ok(found.map(|captures| Found { text, groups: groups(captures) }))
    }

    fn program(&self, text: &str) -> &Program {
        let line = usize::from(self.by_line_break && text.ends_with('\n'));
        let word = usize::from(self.by_word && !text.is_ascii());
        &self.programs[word * (1 + usize::from(self.by_line_break)) + line]
    }

    /// Searching fails for one reason: the engine's other errors are of compiling.
    fn given_up(&self, error: &EngineError, text: &str) -> SearchError {
        debug_assert!(matches!(error, EngineError::RuntimeError(_)), "{error}");
        SearchError { pattern: self.text.clone(), bytes: text.len() }
    }
}

fn build(translated: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(translated).backtrack_limit(STEP_LIMIT).build().map_err(|error| {
        let text = error.to_string();
        // The engine's position is that of the translation.
        let reason = text.lines().last().unwrap_or("no reason given").trim_start_matches("error: ").to_owned();
        PatternError { reason, position: 0 }
    })
}

impl PartialEq for PythonRegex {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.anchoring) == (&other.text, other.anchoring)
    }
}

impl fmt::Debug for PythonRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
