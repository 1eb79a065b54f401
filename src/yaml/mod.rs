//! YAML that people write: a tree that remembers positions, and the collector of its faults.
//!
//! [`parse`] turns text into [`Node`]s as PyYAML reads it; [`diagnostic`] collects every problem with
//! its place, so that all faults of a file are reported at once. Merge recipes, task files and gate
//! files are read through it.

pub(crate) mod diagnostic;
mod mapping;
mod parser;
mod property;
mod scalar;
mod scanner;
#[cfg(test)]
mod tests;
mod token;
pub(crate) mod tree;
pub(crate) mod write;

pub(crate) use diagnostic::{Diagnostics, RecipeError, Severity};
pub(crate) use parser::parse;
pub(crate) use tree::{Kind, Node, Span, Spanned, boolean, number};
