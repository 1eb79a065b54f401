//! Reading task files: the keys of a file with what it includes, each with its place.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::error::TaskError;
use super::suite;
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{Diagnostics, Fields, Node, Span, Spanned, parse};

/// A value and where its key stands.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub node: Node,
    pub key: Span,
    /// Index into [`Files::diagnostics`].
    pub file: usize,
}

/// Keys of a task or group, later files over earlier ones.
pub(super) type Entries = IndexMap<String, Entry>;

/// Origin of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Part of the built-in suite, by file name.
    BuiltIn(String),
    /// On disk.
    Disk(PathBuf),
}

impl Origin {
    pub(super) fn display(&self) -> String {
        match self {
            Self::BuiltIn(name) => format!("<built in>/{name}"),
            Self::Disk(path) => path.display().to_string(),
        }
    }

    pub(super) fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::BuiltIn(_) => None,
            Self::Disk(path) => path.parent().map(Path::to_owned),
        }
    }

    fn beside(&self, name: &str) -> Self {
        match self {
            Self::BuiltIn(_) => Self::BuiltIn(name.to_owned()),
            Self::Disk(path) => Self::Disk(path.parent().unwrap_or(Path::new("")).join(name)),
        }
    }

    fn read(&self) -> Result<String, TaskError> {
        match self {
            Self::BuiltIn(name) => suite::file(name).map(str::to_owned).ok_or_else(|| TaskError::Unknown {
                name: name.clone(),
                nearest: None,
                known: Vec::new(),
                unread: Vec::new(),
            }),
            Self::Disk(path) => crate::storage::input::read_text(path, crate::storage::input::TEXT_BYTES)
                .map_err(|source| TaskError::Io { path: path.clone(), source }),
        }
    }
}

/// All files read so far, with their problems. Those of files that nobody uses are not reported: a
/// folder of tasks may hold files that billon cannot read.
#[derive(Debug, Default)]
pub(super) struct Files {
    diagnostics: Vec<Diagnostics>,
    used: BTreeSet<usize>,
}

impl Files {
    /// The problems of a file.
    pub(super) fn of(&mut self, file: usize) -> Option<&mut Diagnostics> {
        self.diagnostics.get_mut(file)
    }

    /// Notes an error at an entry.
    pub(super) fn error(&mut self, entry: &Entry, span: Span, message: impl Into<String>, help: impl Into<String>) {
        if let Some(diagnostics) = self.diagnostics.get_mut(entry.file) {
            let help: String = help.into();
            if help.is_empty() {
                diagnostics.error(span, message);
            } else {
                diagnostics.error_help(span, message, help);
            }
        }
    }

    /// Has the problems of these files reported.
    pub(super) fn mark_used(&mut self, files: Range<usize>) {
        self.used.extend(files);
    }

    fn in_use(&self) -> impl Iterator<Item = &Diagnostics> {
        self.used.iter().filter_map(|file| self.diagnostics.get(*file))
    }

    /// `Err` with the problems of the first file in use that has errors.
    pub(super) fn check(&self) -> Result<(), TaskError> {
        for diagnostics in self.in_use() {
            diagnostics.check()?;
        }
        Ok(())
    }

    /// All warnings of files in use.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.in_use().flat_map(Diagnostics::warnings).collect()
    }

    /// Number of files read.
    pub(super) fn len(&self) -> usize {
        self.diagnostics.len()
    }

    /// Whether one of these files has errors.
    pub(super) fn faulty(&self, files: Range<usize>) -> bool {
        self.diagnostics.get(files).is_some_and(|list| list.iter().any(Diagnostics::has_errors))
    }

    /// The keys of a file and of what it includes (its own win), and which files these are.
    pub(super) fn read(&mut self, origin: &Origin) -> Result<(Entries, Range<usize>), TaskError> {
        let first = self.diagnostics.len();
        let entries = self.read_nested(origin, &mut Vec::new())?;
        Ok((entries, first..self.diagnostics.len()))
    }

    fn read_nested(&mut self, origin: &Origin, seen: &mut Vec<Origin>) -> Result<Entries, TaskError> {
        seen.push(origin.clone());
        let source = SourceText { name: origin.display(), text: origin.read()? };
        let text = source.text.clone();
        let file = self.diagnostics.len();
        let mut diagnostics = Diagnostics::new(Arc::new(source), false).last_key_wins();
        let documents = parse(&text, &mut diagnostics);
        if let Some(second) = documents.get(1) {
            diagnostics.error(second.span, "a task file holds one YAML document");
        }
        if documents.is_empty() && !diagnostics.has_errors() {
            diagnostics.error(Span { line: 1, column: 1, length: 1 }, "the file is empty");
        }
        let fields = documents.first().and_then(|root| Fields::of(root, "a task file", &mut diagnostics));
        let (mut included, mut own) = (Vec::new(), Entries::new());
        for field in fields.into_iter().flat_map(Fields::iter) {
            if field.name == "include" {
                included = field.read::<Vec<Spanned<String>>>(&mut diagnostics).unwrap_or_else(Vec::new);
            } else {
                own.insert(field.name.to_owned(), Entry { node: field.node.clone(), key: field.key, file });
            }
        }
        self.diagnostics.push(diagnostics);
        let mut entries = Entries::new();
        for Spanned { value: name, span } in included {
            let included = origin.beside(&name);
            if exists(&included) && !seen.contains(&included) {
                entries.extend(self.read_nested(&included, seen)?);
            } else if let Some(diagnostics) = self.of(file) {
                if seen.contains(&included) {
                    diagnostics.error(span, format!("`{name}` includes itself"));
                } else {
                    let message = format!("included file `{}` does not exist", included.display());
                    diagnostics.error_help(span, message, "paths are relative to the file that includes");
                }
            }
        }
        entries.extend(own);
        Ok(entries)
    }
}

fn exists(origin: &Origin) -> bool {
    match origin {
        Origin::BuiltIn(name) => suite::file(name).is_some(),
        Origin::Disk(path) => path.is_file(),
    }
}
