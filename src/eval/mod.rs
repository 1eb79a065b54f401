//! Scoring models on tasks, comparing the scores, and deciding whether something was forgotten.

pub mod cache;
pub mod identity;
pub mod language_model;
pub mod outcome;
