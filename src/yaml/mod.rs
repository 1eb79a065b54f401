//! YAML that people write: a tree that remembers positions, and the collector of its faults.
//!
//! [`parse`] turns text into [`Node`]s as PyYAML reads it; [`diagnostic`] collects every problem with
//! its place, so that all faults of a file are reported at once. Merge recipes, task files and gate
//! files are read through it.

pub mod diagnostic;
mod mapping;
mod parser;
mod property;
mod scalar;
mod scanner;
#[cfg(test)]
mod tests;
mod token;
pub mod tree;

pub use diagnostic::{Diagnostics, RecipeError, Severity};
pub use parser::parse;
pub use tree::{Kind, Node, Span, Spanned, boolean, number};
