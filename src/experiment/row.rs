//! Rows of the table.

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// The base model as it is.
    Base,
    /// Specialist of this name.
    Specialist(String),
    /// A merge with one of its recipes.
    Merge {
        /// Name in the file.
        merge: String,
        /// Number of the recipe; `None` is the one that validation selects.
        candidate: Option<usize>,
    },
}
