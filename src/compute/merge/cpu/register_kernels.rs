//! Operations that a SIMD level has in its own registers from load to store.

use crate::compute::merge::{Bracket, Delta, Operand, Output, Selection, TaskVectors, WeightedSum};
use crate::compute::simd::{Scalar, Simd};

/// Kernels of one level. Each processes as many leading elements as it can (none, by default and for jobs it does not
/// support), writes the bits of the definition, and returns how many; the portable bodies do the rest.
pub(crate) trait RegisterKernels: Simd {
    /// Leading elements of [`MergeKernels::weighted_sum`](crate::compute::merge::MergeKernels) that were written.
    fn weighted_sum(self, _job: &WeightedSum<'_>, _output: &mut Output<'_>) -> usize {
        0
    }

    /// Leading elements of the task vectors that were written.
    fn task_vectors(self, _job: &TaskVectors<'_>, _output: &mut Output<'_>) -> usize {
        0
    }

    /// Whether all products were added.
    fn products(self, _vectors: &[Delta<'_>], _sums: &mut [f64]) -> bool {
        false
    }

    /// Leading elements, and the sums of their magnitudes.
    fn magnitude_sums(
        self,
        _delta: &Delta<'_>,
        _selection: Selection,
        _first: u64,
        _mask: Option<&mut [u64]>,
    ) -> (usize, (f64, f64)) {
        (0, (0.0, 0.0))
    }

    /// Leading elements, and the number of their keys above the bracket.
    fn magnitude_bracket(self, _delta: &Delta<'_>, _bracket: Bracket, _inside: &mut Vec<u32>) -> (usize, u64) {
        (0, 0)
    }

    /// The element at which the next sample starts.
    fn magnitude_sample(self, _delta: &Delta<'_>, _run: usize, _stride: usize, _keys: &mut Vec<u32>) -> usize {
        0
    }

    /// Leading elements, and the number of infinities and NaN among them.
    fn non_finite(self, _values: Operand<'_>) -> (usize, u64) {
        (0, 0)
    }
}

impl RegisterKernels for Scalar {}

#[cfg(target_arch = "x86_64")]
impl RegisterKernels for crate::compute::simd::Avx2 {}
