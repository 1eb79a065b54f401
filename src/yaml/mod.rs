//! YAML that people write: a tree that remembers positions, typed reading of it, and the collector of faults.
//!
//! [`parse`] turns text into [`Node`]s as PyYAML reads it; [`Fields`] and [`Field`] read them as types; [`Diagnostics`]
//! collects every problem with its place, so that all faults of a file are reported at once. Merge and training
//! recipes, task files, gate files and experiments are read through it.

pub(crate) mod diagnostic;
mod excerpt;
mod mapping;
mod parser;
mod property;
mod range;
mod reader;
mod scalar;
mod scanner;
mod source_text;
#[cfg(test)]
mod tests;
mod token;
pub(crate) mod tree;
pub(crate) mod write;

pub(crate) use diagnostic::{Diagnostics, RecipeError, Severity};
pub(crate) use parser::parse;
pub(crate) use range::{Range, per_cent};
pub(crate) use reader::{Field, Fields, FromYaml};
pub(crate) use tree::{Kind, Node, Span, Spanned, boolean, number};
