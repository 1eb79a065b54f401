//! Outcome of one document, once the model has answered.

use super::language_model::Score;

/// The answer to one document, by kind of task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// `multiple_choice`: every choice was scored.
    Choice {
        /// The choices' texts, without delimiter.
        choices: Vec<String>,
        /// Indices of the right ones; empty when the document's gold is out of range.
        gold: Vec<usize>,
        /// One score a choice.
        scores: Vec<Score>,
        /// Log-probabilities of the choices after an empty context, where a metric asks for them.
        unconditional: Option<Vec<f64>>,
    },
    /// `generate_until`: the model wrote something.
    Text {
        /// Accepted answers, at least one.
        references: Vec<String>,
        /// One text a repeat.
        responses: Vec<String>,
        /// The label set of a classification task, in the task file's order; else empty.
        choices: Vec<String>,
        /// The document, for metrics that need more of it.
        doc: serde_json::Value,
    },
    /// `loglikelihood`: one continuation was scored.
    Continuation { score: Score },
    /// `loglikelihood_rolling`: a whole text was scored.
    Rolling {
        /// Sum of the natural-log probabilities.
        logprob: f64,
        /// Words, split at whitespace.
        words: usize,
        /// UTF-8 bytes.
        bytes: usize,
    },
}
