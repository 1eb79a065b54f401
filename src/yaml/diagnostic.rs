//! Problems of a file, each with its place and an excerpt.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::excerpt::excerpt;
pub(crate) use super::source_text::SourceText;
use super::tree::Span;
use crate::error::{Diagnose, ErrorKind};
use crate::{suggest, visible};

/// Problems of a file that are shown; the others are counted.
const SHOWN: usize = 40;
/// Characters of a message, and of a name in it, that are shown.
const LONGEST_MESSAGE: usize = 1000;
const LONGEST_NAME: usize = 120;

/// Severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The run goes on.
    Warning,
    /// The run goes on, and its result may not be what was meant: shown even with `--quiet`.
    Alert,
    /// Nothing is written.
    Error,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Message, lower case, no full stop.
    pub message: String,
    /// Place in the text, if there is one.
    pub span: Option<Span>,
    /// Advice.
    pub help: Option<String>,
    /// Kind of the error: the recipe's fault ([`ErrorKind::Usage`]) or a model's.
    pub kind: ErrorKind,
}

/// Problems found so far in one file.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    source: Arc<SourceText>,
    list: Vec<Diagnostic>,
    /// Severity, place and message of what is in the list.
    known: BTreeSet<(bool, Option<Span>, String)>,
    /// Values that stand in no file, as the user wrote them.
    overrides: Vec<String>,
    lenient: bool,
    last_key_wins: bool,
}

impl Diagnostics {
    /// No problems yet. With `lenient`, unknown keys are warnings.
    #[must_use]
    pub fn new(source: Arc<SourceText>, lenient: bool) -> Self {
        let (list, known, overrides) = (Vec::new(), BTreeSet::new(), Vec::new());
        Self { source, list, known, overrides, lenient, last_key_wins: false }
    }

    /// Returns the span of a value that a flag sets instead of the file: of a fault there, `origin` (`key=value`) is
    /// quoted in place of an excerpt. Line 0 tells such spans from those of the
    /// file, a column above 0 from those of values made in Rust.
    pub fn override_span(&mut self, origin: String) -> Span {
        self.overrides.push(origin);
        Span { line: 0, column: self.overrides.len(), length: 0 }
    }

    /// From here on, unknown keys are warnings or not.
    #[must_use]
    pub(crate) fn with_lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Of a key given twice the last value counts, with a warning, as where PyYAML reads the file: its
    /// users would get another result without one. Otherwise it is an error. For files whose warnings
    /// are shown.
    #[must_use]
    pub fn last_key_wins(mut self) -> Self {
        self.last_key_wins = true;
        self
    }

    /// Notes a key that stands in its mapping for the second time.
    pub(super) fn repeated_key(&mut self, span: Span, name: &str, first: usize) {
        let message = format!("key `{}` is given twice (first on line {first})", shortened(name, LONGEST_NAME));
        if self.last_key_wins {
            self.warning(span, message, Some("the last value counts; remove the other".to_owned()));
        } else {
            self.error(span, message);
        }
    }

    /// Notes a problem; the same one at the same place is noted once.
    pub fn push(&mut self, severity: Severity, span: Option<Span>, message: impl Into<String>, help: Option<String>) {
        self.add(Diagnostic { severity, message: message.into(), span, help, kind: ErrorKind::Usage });
    }

    /// Notes a fault of a model that the recipe names: missing, damaged, unsupported, or not fitting
    /// the others.
    pub fn model_error(
        &mut self,
        kind: ErrorKind,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let help = Some(help.into()).filter(|h: &String| !h.is_empty());
        self.add(Diagnostic { severity: Severity::Error, message: message.into(), span: span.into(), help, kind });
    }

    /// Keys and values of a recipe may hold line breaks, which would forge lines of the report.
    fn add(&mut self, diagnostic: Diagnostic) {
        let mut diagnostic = diagnostic;
        if let Some(place) = diagnostic.span.filter(|span| span.line == 0) {
            diagnostic.span = None;
            if let Some(origin) = place.column.checked_sub(1).and_then(|index| self.overrides.get(index)) {
                diagnostic.message = format!("{} (set by `{origin}`)", diagnostic.message);
            }
        }
        diagnostic.message = shortened(&visible::message(&diagnostic.message), LONGEST_MESSAGE);
        diagnostic.help = diagnostic.help.map(|help| visible::message(&help).into_owned());
        let key = (diagnostic.severity == Severity::Error, diagnostic.span, diagnostic.message.clone());
        if self.known.insert(key) {
            self.list.push(diagnostic);
        }
    }

    /// Notes an error.
    pub fn error(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) {
        self.push(Severity::Error, span.into(), message, None);
    }

    /// Notes an error with advice.
    pub fn error_help(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, span.into(), message, Some(help.into()));
    }

    /// Notes a warning with advice.
    pub fn warning(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Warning, span.into(), message, help);
    }

    /// Notes a warning that `--quiet` does not hide.
    pub fn alert(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) {
        self.push(Severity::Alert, span.into(), message, None);
    }

    /// Notes an unknown name (an error, or a warning when lenient) and the nearest known one.
    pub fn unknown(&mut self, span: Span, what: &str, name: &str, known: &[&str]) {
        let severity = if self.lenient { Severity::Warning } else { Severity::Error };
        let help = suggest::advice(name, known);
        self.push(severity, Some(span), format!("unknown {what} `{}`", shortened(name, LONGEST_NAME)), Some(help));
    }

    /// Everything noted.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter().filter(|d| d.severity == Severity::Error)
    }

    /// Whether anything noted is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// The rendered warnings, one text each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let all = || self.list.iter().filter(|d| d.severity != Severity::Error);
        let mut shown: Vec<String> = all().take(SHOWN).map(|d| self.render(d)).collect();
        let more = all().count().saturating_sub(SHOWN);
        if more > 0 {
            shown.push(format!("{more} more warnings in {}", self.source.name));
        }
        shown
    }

    /// Those of them that `--quiet` does not hide.
    #[must_use]
    pub fn alerts(&self) -> Vec<String> {
        self.list.iter().filter(|d| d.severity == Severity::Alert).map(|d| self.render(d)).collect()
    }

    /// `Err` with everything noted when there is an error among it.
    ///
    /// # Errors
    /// [`RecipeError`] holding all problems.
    pub fn check(&self) -> Result<(), RecipeError> {
        if self.has_errors() { Err(RecipeError { diagnostics: self.clone() }) } else { Ok(()) }
    }

    /// Message, `file:line:column`, marked excerpt, help.
    #[must_use]
    pub fn render(&self, diagnostic: &Diagnostic) -> String {
        let mut text = diagnostic.message.clone();
        // Line 0 is that of values which stand in no text.
        if let Some(span) = diagnostic.span.filter(|span| span.line > 0 && !self.source.name.is_empty()) {
            let _ = write!(text, "\n{}", excerpt(&self.source, span));
        }
        if let Some(help) = &diagnostic.help {
            let _ = write!(text, "\n  help: {help}");
        }
        text
    }
}

/// A text of at most `most` characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A recipe that can't be used, with all its problems.
#[derive(Debug, thiserror::Error)]
pub struct RecipeError {
    /// Errors and warnings.
    pub diagnostics: Diagnostics,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.diagnostics.source.name.is_empty() {
            let errors = self.diagnostics.errors().map(|d| d.message.as_str());
            return f.write_str(&errors.collect::<Vec<_>>().join("; "));
        }
        let errors = || self.diagnostics.list.iter().filter(|d| d.severity == Severity::Error);
        let count = errors().count();
        let plural = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} {plural} in {}", visible::value(&self.diagnostics.source.name))?;
        for error in errors().take(SHOWN) {
            write!(f, "\n\n{}", self.diagnostics.render(error))?;
        }
        if count > SHOWN {
            write!(f, "\n\nand {} more", count - SHOWN)?;
        }
        Ok(())
    }
}

impl Diagnose for RecipeError {
    /// A fault of the recipe outweighs those of models.
    fn kind(&self) -> ErrorKind {
        let errors = self.diagnostics.list.iter().filter(|d| d.severity == Severity::Error);
        let mut kinds = errors.map(|d| d.kind);
        let first = kinds.next().unwrap_or(ErrorKind::Usage);
        if kinds.any(|kind| kind == ErrorKind::Usage) { ErrorKind::Usage } else { first }
    }

    fn is_laid_out(&self) -> bool {
        true
    }

    /// The advice, where it does not stand below the excerpts.
    fn hints(&self) -> Vec<String> {
        let unnamed = self.diagnostics.source.name.is_empty();
        let errors = self.diagnostics.errors().filter(|_| unnamed);
        errors.filter_map(|d| d.help.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_mark_the_place() {
        let source = SourceText { name: "r.yml".into(), text: "a: 1\n\tbc: 2\n".into() };
        let mut diagnostics = Diagnostics::new(Arc::new(source), false);
        diagnostics.unknown(Span { line: 2, column: 2, length: 2 }, "key", "bc", &["bd"]);
        let text = diagnostics.check().unwrap_err().to_string();
        let expected = "1 problem in r.yml\n\nunknown key `bc`\n --> r.yml:2:2\n  |\n2 |     bc: 2\n  |     ^^\n  help: did you mean `bd`?";
        assert_eq!(text, expected);
    }
}
