//! Experiments: train specialists, merge them into their base, measure what that kept and what it
//! forgot, gate, report. One file, one command.
//!
//! [`mod@file`] reads EXPERIMENT.yml into an [`Experiment`]; [`graph`] makes steps of it, each with what
//! it depends on; [`fingerprint`] says on what a step's result rests, [`state`] remembers finished
//! steps, and [`plan()`] compares the two: what would run, and why. [`runner`] runs a plan through a
//! [`StepRunner`](step_runner::StepRunner), so that the order of things can be tested without a model; [`engine`] is the real one.
//! `row_gate` is the gate as it judges one row, `changes` what a row gained and lost;
//! [`collect`] gathers all results into [`report::ReportData`], which becomes HTML and Markdown.

mod changes;
pub(crate) mod collect;
pub(crate) mod engine;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod fingerprint;
pub(crate) mod graph;
pub(crate) mod output;
pub(crate) mod plan;
pub(crate) mod report;
mod row_gate;
pub(crate) mod runner;
pub(crate) mod schema;
pub(crate) mod state;
pub(crate) mod step_runner;
pub(crate) mod task_vectors;
pub(crate) mod tasks;
pub(crate) mod training;
pub(crate) mod value;

pub use graph::Graph;
pub(crate) use plan::plan;
pub use runner::RunOptions;
pub(crate) use runner::run;
pub use schema::Experiment;

#[cfg(test)]
mod runner_tests;
