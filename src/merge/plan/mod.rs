//! From a recipe and opened models to a complete plan: every output tensor knows its inputs,
//! parameters, dtype and place before the first byte is computed.
//!
//! [`plan`] opens the models and checks that they fit together (`models`, `fit`, `vocabularies`), finds which layers of
//! which model each slice takes (`slices`), collects the output tensors (`planner`), lays them out
//! and decides what changes in the config (`config`). Every step notes all faults it finds.

mod build;
mod config;
mod fit;
mod merge_plan;
mod models;
mod names;
pub(crate) mod options;
pub(crate) mod parameters;
mod planner;
mod slices;
pub(crate) mod sources;
mod vocabularies;

pub(crate) use build::{plan, plan_with};
pub(crate) use merge_plan::{JobInput, MergePlan, TensorJob};
