//! Reductions that a method may ask for, and their results.

use std::collections::BTreeMap;

use super::{BaseInput, MethodFault};
use crate::compute::merge::Selection;

/// Elements that form one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// The whole tensor.
    Whole,
    /// Each run along the last axis.
    Rows,
    /// Each run along the first axis.
    Columns,
}

/// Dot products of all pairs of some inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DotProducts {
    /// Elements of a vector.
    pub axis: Axis,
    /// Input indices.
    pub vectors: Vec<usize>,
    /// Subtracted first, if there.
    pub base: Option<BaseInput>,
}

/// Elements of a task vector that a method keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sparsify {
    /// All.
    Keep,
    /// None.
    Drop,
    /// The `keep` largest in magnitude of this tensor.
    Largest {
        /// Number of elements.
        keep: u64,
    },
    /// The share `density` that is largest in the whole task vector.
    LargestOfModel {
        /// Share of all elements.
        density: f64,
    },
    /// A random share.
    Random {
        /// Probability of being kept.
        density: f64,
        /// Key of the stream.
        key: u64,
    },
}

/// A pass over the data of a tensor before its map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reduction {
    /// Nothing.
    None,
    /// Dot products.
    DotProducts(DotProducts),
    /// Selections of the inputs that are not the base, in order.
    Sparsify {
        /// One rule per non-base input.
        rules: Vec<Sparsify>,
        /// Multiply what is kept by `sum |d| / sum |kept|`.
        rescale: bool,
    },
}

impl Reduction {
    /// Whether the data must be read before the map.
    #[must_use]
    pub(crate) fn needs_data(&self) -> bool {
        match self {
            Self::None => false,
            Self::DotProducts(_) => true,
            Self::Sparsify { rules, rescale } => rules.iter().any(|rule| match rule {
                Sparsify::Keep | Sparsify::Drop => false,
                Sparsify::Largest { .. } => true,
                Sparsify::LargestOfModel { .. } | Sparsify::Random { .. } => *rescale,
            }),
        }
    }
}

/// Result of a [`Reduction`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReductionResult {
    /// Of [`Reduction::None`].
    Nothing,
    /// Products of all pairs, per vector.
    DotProducts {
        /// Products per vector.
        pairs: usize,
        /// All vectors' products, one after the other.
        sums: Vec<f64>,
    },
    /// One selection per non-base input, and the masks drawn for the random ones.
    Selections(Vec<Selection>, Masks),
}

/// Masks of random selections, by position among the non-base inputs and by chunk. A mask is drawn
/// while measuring and kept for the map, except for tensors so large that drawing twice is cheaper
/// than the memory.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Masks(pub(crate) Vec<BTreeMap<usize, Vec<u64>>>);

impl ReductionResult {
    /// The three products `aa, ab, bb` of vector `index` of a pair of inputs.
    ///
    /// # Errors
    /// A [`MethodFault`] when they were not measured.
    pub(crate) fn pair(&self, index: usize) -> Result<[f64; 3], MethodFault> {
        let sums = match self {
            Self::DotProducts { sums, pairs: 3 } => sums.get(index * 3..index * 3 + 3),
            _ => None,
        };
        sums.map(|s| [s[0], s[1], s[2]]).ok_or(MethodFault::NotMeasured { wanted: "products of two inputs" })
    }

    /// The products of every vector of a pair of inputs, see [`Self::pair`].
    ///
    /// # Errors
    /// A [`MethodFault`] when they were not measured.
    pub(crate) fn all_pairs(&self) -> Result<Vec<[f64; 3]>, MethodFault> {
        match self {
            Self::DotProducts { sums, pairs: 3 } => (0..sums.len() / 3).map(|index| self.pair(index)).collect(),
            _ => Err(MethodFault::NotMeasured { wanted: "products of two inputs" }),
        }
    }

    /// The selections.
    ///
    /// # Errors
    /// A [`MethodFault`] when they were not measured.
    pub(crate) fn selections(&self) -> Result<Vec<Selection>, MethodFault> {
        match self {
            Self::Selections(selections, _) => Ok(selections.clone()),
            _ => Err(MethodFault::NotMeasured { wanted: "selections" }),
        }
    }

    /// The masks of a chunk, one per non-base input; empty when there are none at all.
    #[must_use]
    pub(crate) fn masks(&self, chunk: usize) -> Vec<Option<&[u64]>> {
        match self {
            Self::Selections(_, masks) => masks.0.iter().map(|m| m.get(&chunk).map(Vec::as_slice)).collect(),
            Self::Nothing | Self::DotProducts { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_cannot_be_read() {
        let nothing = ReductionResult::Nothing;
        assert!(matches!(nothing.selections(), Err(MethodFault::NotMeasured { .. })));
        assert!(matches!(nothing.pair(0), Err(MethodFault::NotMeasured { .. })));
        assert!(matches!(nothing.all_pairs(), Err(MethodFault::NotMeasured { .. })));
        let one = ReductionResult::DotProducts { pairs: 3, sums: vec![1.0, 2.0, 3.0] };
        assert_eq!(one.pair(0), Ok([1.0, 2.0, 3.0]));
        assert!(matches!(one.pair(1), Err(MethodFault::NotMeasured { .. })));
    }
}
