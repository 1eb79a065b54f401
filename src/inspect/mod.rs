//! Looking at models without changing them.
//!
//! - [`open`]: from what the user typed to an opened model.
//! - [`model`]: what a directory says about itself; reads headers and config only.
//! - [`task_vectors`]: one streaming pass over a base and its fine-tuned models.
//! - [`statistics`]: what that pass found, as plain data per tensor, module, layer and in total.
//! - [`names`]: the order tensors are listed in, and the module a tensor belongs to.
//!
//! Everything returned is plain data in a stable order; `cli` renders it.

pub(crate) mod model;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod statistics;
pub(crate) mod task_vectors;

pub(crate) use task_vectors::TaskVectorReport;
