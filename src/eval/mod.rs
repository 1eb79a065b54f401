//! Scoring models on tasks, comparing the scores, and deciding whether something was forgotten.

pub mod judge;
pub mod language_model;
pub mod openai;
pub mod outcome;
