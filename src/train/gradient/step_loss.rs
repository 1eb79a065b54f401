//! Loss of a step.

/// Sums over the trained tokens of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct StepLoss {
    /// Sum of the token losses, in nats.
    pub sum: f64,
    /// Trained tokens.
    pub targets: u64,
    /// All tokens.
    pub tokens: u64,
    /// Trained tokens that are the most probable ones.
    pub correct: u64,
    /// Sum of the distributions' entropies, in nats.
    pub entropy: f64,
}

impl StepLoss {
    pub(super) fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        self.targets += other.targets;
        self.tokens += other.tokens;
        self.correct += other.correct;
        self.entropy += other.entropy;
    }

    /// Mean loss of a trained token.
    #[must_use]
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.targets as f64
    }
}
