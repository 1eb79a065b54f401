//! Merge recipes: mergekit's YAML, read strictly.
//!
//! `read` turns the tree of [`yaml`](crate::yaml) into [`Recipe`]s; [`setting`] evaluates
//! parameters with filters and gradients. Every fault of a recipe is reported at once.
//! Which parameters a method has is not known here: `merge::plan` checks that.

mod read;
pub(crate) mod reference;
pub(crate) mod schema;
pub(crate) mod setting;

pub(crate) use crate::yaml::{Diagnostics, Span};
pub(crate) use reference::ModelReference;
pub(crate) use schema::Assembly;
pub(crate) use schema::OutputSlice;
pub(crate) use schema::Recipe;
pub use schema::RecipeFile;
pub(crate) use schema::Source;
pub(crate) use setting::Parameters;
