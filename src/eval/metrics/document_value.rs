//! Contribution of one document to a metric.

use serde_json::{Value, json};

/// The label of a document whose gold answer is none of its choices, as in the harness.
pub(crate) const NO_GOLD: i32 = -100;
/// The label predicted when an answer names no choice.
pub(crate) const MISSING: i32 = -1;

/// Contribution of one document to a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum DocumentValue {
    /// A number: 0 or 1 for accuracies, a log-probability for perplexity.
    Number(f64),
    /// Right and predicted label as indices of the choices ([`NO_GOLD`], [`MISSING`]).
    Labels {
        /// Right label.
        gold: i32,
        /// Predicted label.
        predicted: i32,
    },
    /// The same for one of several questions.
    Question {
        /// The question's type.
        kind: String,
        /// Right label.
        gold: i32,
        /// Predicted label.
        predicted: i32,
    },
    /// A log-probability and the number of words or bytes it is spread over.
    Weighted {
        /// Sum of the natural-log probabilities.
        logprob: f64,
        /// Words or bytes.
        weight: f64,
    },
    /// A probability for each choice, and the right one.
    Probabilities {
        /// Right label.
        gold: i32,
        /// One probability a choice.
        probabilities: Vec<f64>,
    },
    /// Entities found, named and wanted.
    Entities {
        /// Predicted entities that are right.
        correct: u32,
        /// Predicted entities.
        predicted: u32,
        /// Right entities.
        gold: u32,
    },
}

impl DocumentValue {
    /// The value as samples files hold it: a number, or the harness's tuples as lists.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Number(x) => json!(x),
            Self::Labels { gold, predicted } => json!([gold, predicted]),
            // PIXIU's order is type, prediction, gold; the last item names the gold label.
            Self::Question { kind, gold, predicted } => json!([kind, predicted, gold]),
            Self::Weighted { logprob, weight } => json!([logprob, weight]),
            Self::Probabilities { gold, probabilities } => json!([gold, probabilities]),
            Self::Entities { correct, predicted, gold } => json!([correct, predicted, gold]),
        }
    }

    /// Whether the document counts as answered rightly, where that can be said.
    #[must_use]
    pub fn is_correct(&self) -> Option<bool> {
        match self {
            Self::Number(x) if *x == 0.0 || *x == 1.0 => Some(*x == 1.0),
            Self::Labels { gold, predicted } | Self::Question { gold, predicted, .. } => Some(gold == predicted),
            _ => None,
        }
    }
}
