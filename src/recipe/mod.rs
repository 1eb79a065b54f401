//! Merge recipes: mergekit's YAML, read strictly, or values made in Rust.
//!
//! `read` turns the tree of [`yaml`](crate::yaml) into [`Recipe`]s; [`setting`] evaluates parameters with filters
//! and gradients. `build` makes recipes without a text, `write` gives the text of any. A [`RecipeFile`] holds both, the
//! text as provenance. Every fault of a recipe is reported at once. Which parameters a method has is not known here:
//! `merge::plan` checks that.

mod build;
pub(crate) mod file;
mod read;
pub(crate) mod reference;
pub(crate) mod schema;
pub(crate) mod setting;
mod write;

pub(crate) use crate::yaml::{Diagnostics, Span};
pub use file::RecipeFile;
pub use reference::ModelReference;
pub(crate) use schema::Assembly;
pub(crate) use schema::OutputSlice;
pub use schema::Recipe;
pub use schema::Source;
pub(crate) use setting::Parameters;
