//! Merge recipes: mergekit's YAML, read strictly.
//!
//! [`yaml`] turns text into a tree that remembers positions; [`schema`] turns the tree into
//! [`Recipe`]s; [`setting`] evaluates parameters with filters and gradients; [`diagnostic`]
//! collects every problem with its place, so that a recipe's faults are all reported at once.
//! Which parameters a method has is not known here: `merge::plan` checks that.

pub mod diagnostic;
pub mod reference;
pub mod schema;
pub mod setting;
pub mod yaml;

pub use diagnostic::{Diagnostics, RecipeError, Severity};
pub use reference::ModelReference;
pub use schema::{Assembly, OutputSlice, Recipe, RecipeFile, Source};
pub use setting::{Parameters, Setting};
pub use yaml::{Span, Spanned};
