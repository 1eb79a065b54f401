//! Scoring models on tasks, comparing the scores, and deciding whether something was forgotten.
//!
//! A [`language_model`] answers; what is then known about a document is an [`outcome`]. [`scoring`]
//! reads it through [`filter`]s and a [`protocol`] into [`metric`]s with [`interval`]s.

pub mod compare;
pub mod distribution;
pub mod filter;
pub mod gate;
pub mod interval;
pub mod language_model;
pub mod metric;
pub mod outcome;
pub mod protocol;
pub mod resample;
pub mod results;
pub mod scoring;
