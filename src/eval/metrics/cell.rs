//! One distinct value, ready for arithmetic.

/// One distinct value, ready for arithmetic.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Cell {
    Number(f64),
    Labels { kind: u16, gold: u16, predicted: u16 },
    Weighted { logprob: f64, weight: f64 },
    Entities { correct: f64, predicted: f64, gold: f64 },
}

impl Cell {
    /// A key that tells distinct values apart.
    #[must_use]
    pub fn bits(self) -> [u64; 3] {
        match self {
            Self::Number(x) => [x.to_bits(), 0, 0],
            Self::Labels { kind, gold, predicted } => [u64::from(kind), u64::from(gold), u64::from(predicted)],
            Self::Weighted { logprob, weight } => [logprob.to_bits(), weight.to_bits(), 0],
            Self::Entities { correct, predicted, gold } => [correct.to_bits(), predicted.to_bits(), gold.to_bits()],
        }
    }
}
