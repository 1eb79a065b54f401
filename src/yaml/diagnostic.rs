//! Problems of a recipe, each with its place and an excerpt.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::tree::Span;
use crate::error::{Diagnose, ErrorKind};

/// A recipe's text and where it came from.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// File name as the user gave it; empty for a text that a command made, which no message quotes.
    pub name: String,
    /// The text.
    pub text: String,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The run goes on.
    Warning,
    /// Nothing is written.
    Error,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// Where, if it has a place in the text.
    pub span: Option<Span>,
    /// What to do about it.
    pub help: Option<String>,
    /// Whose fault it is: the recipe's ([`ErrorKind::Usage`]) or a model's.
    pub kind: ErrorKind,
}

/// Problems found so far in one recipe file.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    source: Arc<SourceText>,
    list: Vec<Diagnostic>,
    lenient: bool,
}

impl Diagnostics {
    /// No problems yet. With `lenient`, unknown keys are warnings.
    #[must_use]
    pub fn new(source: Arc<SourceText>, lenient: bool) -> Self {
        Self { source, list: Vec::new(), lenient }
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

    fn add(&mut self, diagnostic: Diagnostic) {
        if !self.list.contains(&diagnostic) {
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

    /// Notes an unknown name (an error, or a warning when lenient) and the nearest known one.
    pub fn unknown(&mut self, span: Span, what: &str, name: &str, known: &[&str]) {
        let severity = if self.lenient { Severity::Warning } else { Severity::Error };
        let help = match nearest(name, known) {
            Some(candidate) => format!("did you mean `{candidate}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.push(severity, Some(span), format!("unknown {what} `{name}`"), Some(help));
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
        self.list.iter().filter(|d| d.severity == Severity::Warning).map(|d| self.render(d)).collect()
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
        if let Some(span) = diagnostic.span.filter(|_| !self.source.name.is_empty()) {
            let gutter = " ".repeat(span.line.to_string().len());
            let line = self.source.text.lines().nth(span.line.saturating_sub(1)).unwrap_or("");
            // A tab keeps its width in the marker line, so that the marker stays below its target.
            let indent: String =
                line.chars().take(span.column.saturating_sub(1)).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let room = line.chars().count().saturating_sub(span.column.saturating_sub(1));
            let marker = "^".repeat(span.length.clamp(1, room.max(1)));
            let _ = write!(
                text,
                "\n{gutter}--> {}:{}:{}\n{gutter} |\n{} | {line}\n{gutter} | {indent}{marker}",
                self.source.name, span.line, span.column, span.line
            );
        }
        if let Some(help) = &diagnostic.help {
            let _ = write!(text, "\n  help: {help}");
        }
        text
    }
}

/// The known name that `name` is probably meant to be.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let fold = |s: &str| s.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&fold(name), &fold(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A recipe that can't be used, with all its problems.
#[derive(Debug, thiserror::Error)]
pub struct RecipeError {
    /// Errors and warnings.
    pub diagnostics: Diagnostics,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<_> = self
            .diagnostics
            .list
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .map(|d| self.diagnostics.render(d))
            .collect();
        if self.diagnostics.source.name.is_empty() {
            let errors = self.diagnostics.errors().map(|d| d.message.as_str());
            return f.write_str(&errors.collect::<Vec<_>>().join("; "));
        }
        let plural = if errors.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {plural} in {}", errors.len(), self.diagnostics.source.name)?;
        for error in errors {
            write!(f, "\n\n{error}")?;
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
    fn the_nearest_name_is_near() {
        let known = ["density", "weight", "lambda", "normalize"];
        assert_eq!(nearest("densty", &known), Some("density"));
        assert_eq!(nearest("wieght", &known), Some("weight"));
        assert_eq!(nearest("Lambda", &known), Some("lambda"));
        assert_eq!(nearest("tokenizer", &known), None);
    }

    #[test]
    fn excerpts_mark_the_place() {
        let source = SourceText { name: "r.yml".into(), text: "a: 1\n\tbc: 2\n".into() };
        let mut diagnostics = Diagnostics::new(Arc::new(source), false);
        diagnostics.unknown(Span { line: 2, column: 2, length: 2 }, "key", "bc", &["bd"]);
        let text = diagnostics.check().unwrap_err().to_string();
        let expected = "1 problem in r.yml\n\nunknown key `bc`\n --> r.yml:2:2\n  |\n2 | \tbc: 2\n  | \t^^\n  help: did you mean `bd`?";
        assert_eq!(text, expected);
    }
}
