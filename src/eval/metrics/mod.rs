//! Metrics: what one document contributes, and how documents become one number.
//!
//! A metric of the [`registry`] turns a document's outcome into a [`DocumentValue`]
//! ([`choice`], [`text`], [`numeric`], [`entity`]). A [`Tally`] counts the distinct values of a task
//! and a [`Statistic`] is computed from those counts alone, so that a bootstrap resamples counts and
//! never documents.

pub(crate) mod cell;
pub(crate) mod choice;
pub(crate) mod classes;
pub(crate) mod document_value;
pub(crate) mod entity;
pub(crate) mod numeric;
pub(crate) mod registry;
pub(crate) mod statistic;
pub(crate) mod tally;
pub(crate) mod text;

#[cfg(test)]
mod peer_tests;

pub use document_value::DocumentValue;
pub(crate) use registry::{MetricError, Scored, find};
pub use statistic::Statistic;
pub(crate) use tally::Tally;
