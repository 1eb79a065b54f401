//! Experiments: train specialists, merge them into their base, measure what that kept and what it
//! forgot, gate, report. One file, one command.
//!
//! [`mod@file`] reads EXPERIMENT.yml into an [`Experiment`]; [`graph`] makes steps of it, each with what
//! it depends on; [`fingerprint`] says on what a step's result rests, [`state`] remembers finished
//! steps, and [`plan()`] compares the two: what would run, and why. [`runner`] runs a plan through a
//! [`Work`], so that the order of things can be tested without a model; [`engine`] is the real one.
//! `row_gate` is the gate as it judges one row, `changes` what a row gained and lost;
//! [`collect`] gathers all results into [`report::ReportData`], which becomes HTML and Markdown.

mod changes;
pub mod collect;
pub mod engine;
pub mod error;
pub mod file;
pub mod fingerprint;
pub mod graph;
pub mod plan;
pub mod report;
mod row_gate;
pub mod runner;
pub mod schema;
pub mod state;
pub mod task_vectors;
pub mod tasks;
pub mod training;
pub mod value;
pub mod work;

pub use error::ExperimentError;
pub use graph::{Action, Graph, Step};
pub use plan::{Plan, plan};
pub use runner::{RunOptions, run};
pub use schema::Experiment;
pub use work::Work;

#[cfg(test)]
mod runner_tests;
