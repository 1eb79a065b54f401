//! Merging: a recipe and its checkpoints become a plan, the plan becomes an output directory.
//!
//! - [`method`]: one file per merge method; each says its parameters, which statistics it needs and
//!   which map they lead to.
//! - [`plan`]: every output tensor with its inputs, parameters, dtype and place, before any byte is
//!   computed.
//! - [`executor`]: chunks, threads, memory; runs a plan into a staging directory.
//! - [`adapted`]: models with a LoRA adapter on top, as recipes name them (`model+adapter`).
//! - [`in_memory()`]: the same merges without files, for a decoder to run.
//! - [`statistics`], [`trim`]: the passes before the map; [`map_part`]: the map.
//! - [`stages`]: recipes of several documents.
//! - [`non_finite`]: infinities and NaN that a merge makes.
//! - [`card`], [`lock`], [`verify`]: what is written beside the weights, and checking it later.

pub mod adapted;
pub mod card;
pub mod chunk;
pub mod executor;
pub mod in_memory;
pub mod lock;
pub mod map_part;
pub mod method;
pub mod non_finite;
pub mod output;
pub mod parameters;
pub mod plan;
pub mod report;
mod sink;
pub mod sources;
pub mod stages;
pub mod statistics;
pub mod trim;
pub mod verify;
mod whole_model;

pub use in_memory::{InMemoryOptions, MergedModel, in_memory};
pub use plan::{MergePlan, PlanOptions};
pub use report::MergeReport;
pub use stages::{MergeOptions, merge, plan_recipe};
