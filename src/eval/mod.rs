//! Scoring models on tasks, comparing the scores, and deciding whether something was forgotten.

pub mod language_model;
pub mod local;
mod local_generate;
pub mod outcome;
mod prefix;
mod prefix_cache;
