//! The trait that every device implements.

use super::delta::{Delta, DeltaSummary};
use super::magnitude::{Bracket, Digit};
use super::maps::{TaskVectors, WeightedSum};
use super::operand::{ComputeType, Operand, Output};
use super::selection::Selection;

/// Merge kernels over slices.
pub trait MergeKernels: Sync {
    /// Name for reports.
    fn name(&self) -> &'static str;

    /// `out = x * factor`, rounded once to the compute type and once to the output type. A factor
    /// of 1 converts exactly, signs of zeros included.
    fn scale(&self, input: Operand<'_>, factor: f64, precision: ComputeType, output: Output<'_>);

    /// Computes a [`WeightedSum`].
    fn weighted_sum(&self, job: &WeightedSum<'_>, output: Output<'_>);

    /// Computes [`TaskVectors`].
    fn task_vectors(&self, job: &TaskVectors<'_>, output: Output<'_>);

    /// Dot products of all pairs `(i, j)`, `i <= j`, in that order, of the given vectors, added to
    /// `sums` (f64 products of compute-type elements).
    fn products(&self, vectors: &[Delta<'_>], sums: &mut [f64]);

    /// Like [`MergeKernels::products`] but per column: element `e` of the call belongs to column `e`;
    /// `sums` holds all pairs of a column next to each other and has a place for every element.
    fn column_products(&self, vectors: &[Delta<'_>], sums: &mut [f64]);

    /// Counts keys above the bracket and appends those inside it in any order, as offsets from its low
    /// end (brackets are narrower than 2^32).
    fn magnitude_bracket(&self, delta: Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> u64;

    /// Histogram of a digit's values.
    fn magnitude_histogram(&self, delta: Delta<'_>, digit: Digit, counts: &mut [u64]);

    /// Positions in the call of elements whose key equals `key`, in order, at most `limit`.
    fn magnitude_positions(&self, delta: Delta<'_>, key: u64, limit: usize) -> Vec<usize>;

    /// Numbers of elements whose key is above `key`, and equal to it.
    fn magnitude_counts(&self, delta: Delta<'_>, key: u64) -> (u64, u64);

    /// Appends the keys of the first `run` of every `stride` elements, in any order (f32 keys, which fit
    /// 32 bits).
    fn magnitude_sample(&self, delta: Delta<'_>, run: usize, stride: usize, keys: &mut Vec<u32>);

    /// Sums of magnitudes: of all elements, and of the selected ones (before any rescaling).
    /// `first_element` is as in [`TaskVectors`]. With a random selection and a `mask` (a bit for
    /// each element: `i % 64` of word `i / 64`), sets the bits of elements that were drawn and no others.
    fn magnitude_sums(
        &self,
        delta: Delta<'_>,
        selection: Selection,
        first_element: u64,
        mask: Option<&mut [u64]>,
    ) -> (f64, f64);

    /// Number of infinite and NaN elements.
    fn non_finite(&self, values: Operand<'_>) -> u64;

    /// Summary of task vectors for inspection, in one pass.
    fn delta_summary(&self, base: Operand<'_>, tuned: &[Operand<'_>]) -> DeltaSummary;
}
