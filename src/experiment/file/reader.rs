//! State of reading one experiment file.

use std::path::PathBuf;
use std::sync::Arc;

use crate::yaml::diagnostic::SourceText;
use crate::yaml::{Diagnostics, Field, Node, Spanned};

/// A key and its value.
pub(super) type Entry = (Spanned<String>, Node);

/// Collects the faults of one file.
pub(super) struct Reader {
    pub(super) diagnostics: Diagnostics,
    /// The file's text, for those who report faults later.
    pub(super) source: Arc<SourceText>,
    /// Faults of files that this one names.
    pub(super) other_files: Vec<Diagnostics>,
    /// The file's folder.
    pub(super) folder: PathBuf,
}

impl Reader {
    /// A list of texts; one text is a list of one, and nothing an empty one.
    pub(super) fn texts(&mut self, field: Field<'_>) -> Vec<String> {
        let given = if field.is_null() { None } else { field.read(&mut self.diagnostics) };
        given.unwrap_or_else(Vec::new)
    }

    /// A path as it is meant: from the folder of the experiment file.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}
