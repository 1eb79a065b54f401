//! Merging: a recipe and its checkpoints become a plan, the plan becomes an output directory.
//!
//! - [`methods`]: one file per merge method; each says its parameters, which statistics it needs and which map they
//!   lead to.
//! - [`plan`]: every output tensor with its inputs, parameters, dtype and place, before any byte is computed.
//! - [`execute`]: chunks, threads, memory; runs a plan into a sink.
//! - [`output`]: what is written beside the weights.
//! - [`stages`]: recipes of several documents, planned and run one after the other.
//! - [`verify`]: checks an output against its lock.

pub(crate) mod execute;
pub(crate) mod methods;
pub(crate) mod output;
pub(crate) mod plan;
pub(crate) mod stages;
pub(crate) mod verify;

pub use output::in_memory::{MergedModel, in_memory};
pub use output::report::MergeReport;
pub use plan::options::{MergeOptions, TrimScope};
pub(crate) use stages::{merge, plan_recipe};
