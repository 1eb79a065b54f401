//! Rows of a data set.

use std::sync::Arc;

use super::content::Content;

/// A row, ready to be encoded.
#[derive(Debug)]
pub(super) struct Item {
    pub origin: Arc<str>,
    pub row: usize,
    pub content: Content,
}

/// The rows of a set.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub items: Vec<Item>,
    /// Documents of a task whose right answer is none of the choices.
    pub unanswered: usize,
}
