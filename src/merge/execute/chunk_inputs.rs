//! Inputs of one chunk of a tensor.

use std::ops::Range;

use crate::compute::merge::{ComputeType, Delta, Operand};

/// The chunk of every input that a pass looks at.
#[derive(Debug)]
pub(crate) struct ChunkInputs<'a> {
    /// Index of the chunk in its tensor.
    pub index: usize,
    /// Flat element range.
    pub range: Range<u64>,
    /// Each input's part.
    pub operands: Vec<Operand<'a>>,
    /// Position of the base.
    pub base: Option<usize>,
    /// Working type.
    pub precision: ComputeType,
}

impl<'a> ChunkInputs<'a> {
    /// Input `index` minus the base.
    #[must_use]
    pub(crate) fn delta(&self, index: usize) -> Delta<'a> {
        Delta { base: self.base.map(|b| self.operands[b]), tuned: self.operands[index], precision: self.precision }
    }

    /// The same chunk cut down to a piece of its range.
    #[must_use]
    pub(crate) fn piece(&self, range: &Range<u64>) -> Self {
        let (start, end) = ((range.start - self.range.start) as usize, (range.end - self.range.start) as usize);
        Self {
            index: self.index,
            range: range.clone(),
            operands: self.operands.iter().map(|o| o.slice(start, end)).collect(),
            base: self.base,
            precision: self.precision,
        }
    }
}
