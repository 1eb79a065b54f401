//! Reading task files: the keys of a file with what it includes, each with its place.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::error::TaskError;
use super::suite;
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{Diagnostics, Kind, Node, Span, parse};

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
        let mut documents = parse(&text, &mut diagnostics);
        let first = if documents.is_empty() { None } else { Some(documents.remove(0)) };
        let start = Span { line: 1, column: 1, length: 1 };
        if let Some(second) = documents.first() {
            diagnostics.error(second.span, "a task file holds one YAML document");
        }
        let own = match first {
            Some(Node { kind: Kind::Mapping(entries), .. }) => entries,
            Some(node) => {
                diagnostics.error(node.span, format!("a task file is a mapping of keys, not {}", node.describe()));
                Vec::new()
            }
            None => {
                if !diagnostics.has_errors() {
                    diagnostics.error(start, "the file is empty");
                }
                Vec::new()
            }
        };
        self.diagnostics.push(diagnostics);
        let mut entries = Entries::new();
        let mut kept = Vec::new();
        for (key, node) in own {
            let entry = Entry { node, key: key.span, file };
            if key.value == "include" {
                for (name, span) in self.names(&entry) {
                    let included = origin.beside(&name);
                    if seen.contains(&included) {
                        self.error(&entry, span, format!("`{name}` includes itself"), "");
                    } else if !exists(&included) {
                        let message = format!("included file `{}` does not exist", included.display());
                        self.error(&entry, span, message, "paths are relative to the file that includes");
                    } else {
                        entries.extend(self.read_nested(&included, seen)?);
                    }
                }
            } else {
                kept.push((key.value, entry));
            }
        }
        entries.extend(kept);
        Ok(entries)
    }

    /// A name or a list of names.
    pub(super) fn names(&mut self, entry: &Entry) -> Vec<(String, Span)> {
        let nodes = match &entry.node.kind {
            Kind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.node),
        };
        let mut names = Vec::new();
        for node in nodes {
            match node.text() {
                Some(text) => names.push((text.to_owned(), node.span)),
                None => self.error(entry, node.span, format!("a name is wanted, not {}", node.describe()), ""),
            }
        }
        names
    }
}

fn exists(origin: &Origin) -> bool {
    match origin {
        Origin::BuiltIn(name) => suite::file(name).is_some(),
        Origin::Disk(path) => path.is_file(),
    }
}
