//! YAML that people write: a tree that remembers positions, and the collector of its faults.
//!
//! [`tree`] turns text into [`Node`]s; [`diagnostic`] collects every problem with its place, so
//! that all faults of a file are reported at once. Merge recipes, task files and gate files are
//! read through it.

pub mod diagnostic;
pub mod tree;

pub use diagnostic::{Diagnostics, RecipeError, Severity};
pub use tree::{Kind, Node, Span, Spanned, boolean, number, parse};
