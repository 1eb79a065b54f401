//! Metrics: what one document contributes, and how documents become one number.
//!
//! A metric of the [`registry`] turns a document's outcome into a [`DocumentValue`]
//! ([`choice`], [`text`], [`numeric`], [`entity`]). A [`Tally`] counts the distinct values of a task
//! and a [`Statistic`] is computed from those counts alone, so that a bootstrap resamples counts and
//! never documents.

pub mod choice;
pub mod entity;
pub mod numeric;
pub mod registry;
pub mod statistic;
pub mod tally;
pub mod text;

#[cfg(test)]
mod peer_tests;

pub use registry::{MetricError, MetricInfo, Scored, find};
pub use statistic::Statistic;
pub use tally::{DocumentValue, Tally};
