//! Typed access to nodes, with faults noted and not returned.

use std::path::PathBuf;
use std::sync::Arc;

use crate::yaml::diagnostic::SourceText;
use crate::yaml::{self, Diagnostics, Kind, Node, Spanned};

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
    /// The entries of a mapping; unknown keys are noted (with no `known` ones, all are fine).
    pub(super) fn entries<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> &'n [(Spanned<String>, Node)] {
        let Kind::Mapping(entries) = &node.kind else {
            if node.kind != Kind::Null {
                self.diagnostics.error(node.span, format!("{what} is a mapping, not {}", node.describe()));
            }
            return &[];
        };
        for (key, _) in entries {
            if !known.is_empty() && !known.contains(&key.value.as_str()) {
                self.diagnostics.unknown(key.span, "key", &key.value, known);
            }
        }
        entries
    }

    pub(super) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        let text = node.text().filter(|text| !text.trim().is_empty()).map(str::to_owned);
        if text.is_none() {
            self.diagnostics.error(node.span, format!("`{key}` is a text, not {}", node.describe()));
        }
        text
    }

    /// A list of texts; one text is a list of one.
    pub(super) fn texts(&mut self, node: &Node, key: &str) -> Vec<String> {
        match &node.kind {
            Kind::Sequence(items) => items.iter().filter_map(|item| self.text(item, key)).collect(),
            Kind::Null => Vec::new(),
            _ => self.text(node, key).into_iter().collect(),
        }
    }

    pub(super) fn whole<T: std::str::FromStr>(&mut self, node: &Node, key: &str) -> Option<T> {
        let found = node.text().and_then(|text| text.replace('_', "").parse().ok());
        if found.is_none() {
            self.diagnostics.error(node.span, format!("`{key}` is a whole number of 0 or more"));
        }
        found
    }

    pub(super) fn number(&mut self, node: &Node, key: &str) -> Option<f64> {
        let found = node.text().and_then(yaml::number).filter(|x| x.is_finite());
        if found.is_none() {
            self.diagnostics.error(node.span, format!("`{key}` is a number, not {}", node.describe()));
        }
        found
    }

    pub(super) fn boolean(&mut self, node: &Node, key: &str) -> Option<bool> {
        let found = node.text().and_then(yaml::boolean);
        if found.is_none() {
            self.diagnostics.error(node.span, format!("`{key}` is true or false"));
        }
        found
    }
}
