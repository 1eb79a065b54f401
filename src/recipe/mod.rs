//! Merge recipes: mergekit's YAML, read strictly.
//!
//! [`schema`] turns the tree of [`yaml`](crate::yaml) into [`Recipe`]s; [`setting`] evaluates
//! parameters with filters and gradients. Every fault of a recipe is reported at once.
//! Which parameters a method has is not known here: `merge::plan` checks that.

pub mod reference;
pub mod schema;
pub mod setting;

pub use crate::yaml::{Diagnostics, RecipeError, Severity, Span, Spanned};
pub use reference::ModelReference;
pub use schema::{Assembly, OutputSlice, Recipe, RecipeFile, Source};
pub use setting::{Parameters, Setting};
