//! Names that can be asked for: tasks, groups and tags of the suite, of folders and of files.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::TaskError;
use super::file::{Entries, Files, Origin};
use super::schema;
use crate::suggest::nearest;

/// A named thing that can be asked for, with the files that it was read from.
#[derive(Debug, Clone)]
pub(super) enum Named {
    Task(Entries, Origin, Range<usize>),
    Group(Entries, Origin, Range<usize>),
    Tag(Vec<String>),
}

impl Named {
    fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Task(_, origin, _) | Self::Group(_, origin, _) => Some(origin),
            Self::Tag(_) => None,
        }
    }
}

/// Precedence between two definitions of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precedence {
    /// Files of one folder, as in the harness.
    First,
    /// The later definition, which the user named, over the earlier one.
    Last,
}

/// Definitions by name.
#[derive(Debug, Default)]
pub(super) struct Index {
    names: BTreeMap<String, Named>,
    /// Files of folders that could not be read as tasks.
    unread: Vec<String>,
    /// Names that two files of a folder define.
    pub(super) warnings: Vec<String>,
}

/// Deepest folder below an include path that is searched.
const MAX_DEPTH: usize = 32;

impl Index {
    pub(super) fn get(&self, name: &str) -> Option<&Named> {
        self.names.get(name)
    }

    pub(super) fn insert(&mut self, name: String, named: Named) {
        self.names.insert(name, named);
    }

    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let known: Vec<&str> = self.names.keys().map(String::as_str).collect();
        nearest(name, &known).map(str::to_owned)
    }

    /// The error about a name that is not here.
    pub(super) fn unknown(&self, name: &str) -> TaskError {
        TaskError::Unknown {
            name: name.to_owned(),
            nearest: self.nearest(name),
            known: self.names.keys().cloned().collect(),
            unread: self.unread.clone(),
        }
    }

    /// Adds what a file defines, over earlier definitions of the name; `None` where it defines nothing.
    pub(super) fn add_file(&mut self, origin: &Origin, files: &mut Files) -> Result<Option<String>, TaskError> {
        let (entries, range) = files.read(origin)?;
        Ok(self.add(entries, origin, range, Precedence::Last, files))
    }

    fn add(
        &mut self,
        entries: Entries,
        origin: &Origin,
        range: Range<usize>,
        precedence: Precedence,
        files: &mut Files,
    ) -> Option<String> {
        let text = |key: &str| entries.get(key).and_then(|entry| entry.node.text()).map(str::to_owned);
        let group = text("group");
        let name = group.clone().or_else(|| text("task"))?;
        let same_folder = |other: &Named| other.origin().is_some_and(|other| other != origin);
        if precedence == Precedence::First
            && let Some(other) = self.names.get(&name).filter(|other| same_folder(other))
            && let Some(first) = other.origin()
        {
            self.warnings.push(format!(
                "`{name}` is defined in {} and in {}; the first counts",
                first.display(),
                origin.display()
            ));
            return Some(name);
        }
        let named = if group.is_some() {
            Named::Group(entries, origin.clone(), range)
        } else {
            for tag in schema::tags(&entries, files) {
                match self.names.entry(tag).or_insert_with(|| Named::Tag(Vec::new())) {
                    Named::Tag(tasks) if !tasks.contains(&name) => tasks.push(name.clone()),
                    _ => {}
                }
            }
            Named::Task(entries, origin.clone(), range)
        };
        self.names.insert(name.clone(), named);
        Some(name)
    }

    /// Adds all task files of a folder, over what was known before, and returns the names they define.
    /// Two files that define one name are two tasks of which one would be lost: the first counts, with a
    /// warning.
    pub(super) fn add_folder(
        &mut self,
        folder: &Path,
        recursive: bool,
        files: &mut Files,
    ) -> Result<Vec<String>, TaskError> {
        let mut paths = Vec::new();
        let depth = if recursive { MAX_DEPTH } else { 0 };
        collect(folder, depth, &mut BTreeSet::new(), &mut paths)
            .map_err(|source| TaskError::Io { path: folder.to_owned(), source })?;
        paths.sort();
        let mut own = Self::default();
        let mut names: Vec<String> = Vec::new();
        for path in paths {
            let origin = Origin::Disk(path);
            let Ok((entries, range)) = files.read(&origin) else {
                self.unread.push(origin.display());
                continue;
            };
            match own.add(entries, &origin, range.clone(), Precedence::First, files) {
                Some(name) if !names.contains(&name) => names.push(name),
                // A part that others include has no name of its own.
                None if files.faulty(range) => self.unread.push(origin.display()),
                _ => {}
            }
        }
        self.warnings.append(&mut own.warnings);
        for (name, named) in own.names {
            match (self.names.get_mut(&name), named) {
                // A tag gathers its tasks from everywhere.
                (Some(Named::Tag(known)), Named::Tag(more)) => {
                    for task in more {
                        if !known.contains(&task) {
                            known.push(task);
                        }
                    }
                }
                (Some(_), Named::Tag(_)) => {}
                (_, named) => self.insert(name, named),
            }
        }
        Ok(names)
    }
}

/// Task files of a folder and, `depth` levels down, of those in it.
fn collect(folder: &Path, depth: usize, seen: &mut BTreeSet<PathBuf>, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    // A link may lead back to where we are.
    if !seen.insert(folder.canonicalize()?) {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().expect("an entry of a folder has a name").to_string_lossy().into_owned();
        if path.is_dir() {
            let skipped = name.starts_with('.') || name == "__pycache__";
            if depth > 0 && !skipped {
                // What cannot be looked into hides its own tasks only.
                let _ = collect(&path, depth - 1, seen, paths);
            }
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            paths.push(path);
        }
    }
    Ok(())
}
