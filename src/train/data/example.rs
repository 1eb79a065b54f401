//! Examples as the trainer sees them.

use super::asked::Asked;

/// One sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Whether each token carries loss as the target of the one before it; the first never does.
    pub trained: Vec<bool>,
    /// Index of its data set.
    pub set: usize,
}

/// Examples that share a row of a batch; each attends to itself only.
pub(crate) type PackedRow = Vec<usize>;

/// Counts of a data set's rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SetSummary {
    /// The recipe's name.
    pub name: String,
    /// Rows read.
    pub rows: usize,
    /// Examples made of them.
    pub examples: usize,
    /// Examples of an epoch, the mix's weights applied.
    pub per_epoch: usize,
    /// Held out for validation.
    pub held_out: usize,
    /// Examples that lost the beginning of a prompt or early rounds.
    pub shortened: usize,
    /// Examples left out for their length.
    pub dropped: usize,
    /// Rows left out because no token of theirs carries loss.
    pub masked: usize,
    /// Rows left out because the chat template has no place for their system message.
    pub refused: usize,
    /// Documents of a task left out because their answer is none of the choices.
    pub unanswered: usize,
    /// Texts cut into several examples.
    pub split: usize,
    /// Tokens of its examples.
    pub tokens: usize,
    /// Tokens that carry loss.
    pub trained_tokens: usize,
}

/// All examples of a run, and the order in which they are seen.
#[derive(Debug, Clone, Default)]
pub struct TrainingData {
    /// Training examples.
    pub examples: Vec<Example>,
    /// Held-out examples.
    pub validation: Vec<Example>,
    /// One a data set.
    pub sets: Vec<SetSummary>,
    /// Prompt styles of the examples.
    pub asked: Asked,
}
