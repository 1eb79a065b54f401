//! Task vectors (a fine-tuned model minus its base), and their summary.

use super::operand::{ComputeType, Operand};

/// A task vector, or a model where there is no base.
#[derive(Debug, Clone, Copy)]
pub struct Delta<'a> {
    /// Subtracted if present.
    pub base: Option<Operand<'a>>,
    /// The model.
    pub tuned: Operand<'a>,
    /// Type of the subtraction.
    pub precision: ComputeType,
}

impl Delta<'_> {
    /// Elements from `start` on.
    #[must_use]
    pub fn from(self, start: usize) -> Self {
        let length = self.tuned.len();
        Self { base: self.base.map(|base| base.slice(start, length)), tuned: self.tuned.slice(start, length), ..self }
    }
}

/// Summary of task vectors: norms, products, sign conflicts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeltaSummary {
    /// Sum of squares of the base.
    pub base_square: f64,
    /// Products of all pairs of task vectors `(i, j)`, `i <= j`.
    pub products: Vec<f64>,
    /// Per model: elements equal to the base's.
    pub zeros: Vec<u64>,
    /// Per model: largest magnitude of its task vector.
    pub largest: Vec<f64>,
    /// Elements where two task vectors have opposite signs.
    pub conflicts: u64,
    /// Elements where at least two task vectors are not zero.
    pub contested: u64,
}

impl DeltaSummary {
    /// Adds another part of the same tensor.
    pub fn add(&mut self, other: &Self) {
        let grow = |mine: &mut Vec<f64>, n: usize| mine.resize(mine.len().max(n), 0.0);
        grow(&mut self.products, other.products.len());
        grow(&mut self.largest, other.largest.len());
        self.zeros.resize(self.zeros.len().max(other.zeros.len()), 0);
        self.base_square += other.base_square;
        self.products.iter_mut().zip(&other.products).for_each(|(a, b)| *a += b);
        self.zeros.iter_mut().zip(&other.zeros).for_each(|(a, b)| *a += b);
        self.largest.iter_mut().zip(&other.largest).for_each(|(a, b)| *a = a.max(*b));
        self.conflicts += other.conflicts;
        self.contested += other.contested;
    }
}
