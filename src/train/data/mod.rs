//! Training data: rows of many formats become token sequences that know which tokens carry loss.

mod example;

pub use example::{Example, Row, SetSummary, TrainingData};
