//! Looking at models without changing them.
//!
//! - [`open`]: from what the user typed to an opened model.
//! - [`model`]: what a directory says about itself; reads headers and config only.
//! - [`task_vectors`]: one streaming pass over a base and its fine-tuned models.
//! - [`statistics`]: what that pass found, as plain data per tensor, module, layer and in total.
//! - [`names`]: the order tensors are listed in, and the module a tensor belongs to.
//!
//! Everything returned is plain data in a stable order; `cli` renders it.

pub mod model;
pub mod names;
pub mod open;
pub mod statistics;
pub mod task_vectors;

pub use model::ModelSummary;
pub use task_vectors::TaskVectorReport;
