//! The kernels that merges spend their time in, in AVX-512 registers from load to store, for f32 work.
//!
//! The compiler's versions of the bodies in [`super::kernels`] and [`super::statistics`] pass every intermediate result
//! through the first-level cache; these keep up with memory. Each does as many whole groups as it can, writes the bits
//! of the definition, and says how far it came (nowhere, for work that it does not know); the plain bodies do the rest.

mod bracket;
mod draws;
mod group;
mod keep;
mod magnitude_sums;
mod non_finite;
mod products;
mod sample;
mod task_vectors;
mod weighted_sum;

use draws::Draws;
use group::Vector;

use crate::compute::merge::{Bracket, Delta, Operand, Output, Selection, TaskVectors, WeightedSum};
use crate::dtype::DType;

/// A value proves that the CPU has AVX-512 and what else these kernels use.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, where the CPU (and the operating system) can.
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(()))
    }

    /// [`crate::compute::merge::Backend::weighted_sum`]: how many elements were written.
    pub(crate) fn weighted_sum(self, job: &WeightedSum<'_>, output: &mut Output<'_>) -> usize {
        // SAFETY: `self` proves the features.
        unsafe { weighted_sum::weighted_sum(self, job, output) }
    }

    /// [`crate::compute::merge::Backend::task_vectors`]: how many elements were written.
    pub(crate) fn task_vectors(self, job: &TaskVectors<'_>, output: &mut Output<'_>) -> usize {
        task_vectors::task_vectors(self, job, output)
    }

    /// [`crate::compute::merge::Backend::products`] of two vectors; whether it was done.
    pub(crate) fn products(self, vectors: &[Delta<'_>], sums: &mut [f64]) -> bool {
        let ([a, b], [aa, ab, bb, ..]) = (vectors, sums) else { return false };
        let (Some(a), Some(b)) = (Vector::new(self, a), Vector::new(self, b)) else { return false };
        // SAFETY: `self` proves the features.
        let found = unsafe { products::products(a, b) };
        for (sum, found) in [aa, ab, bb].into_iter().zip(found) {
            *sum += found;
        }
        true
    }

    /// [`crate::compute::merge::Backend::magnitude_sums`] of a random selection: elements looked at, and their sums.
    pub(crate) fn magnitude_sums(
        self,
        delta: &Delta<'_>,
        selection: Selection,
        first: u64,
        mask: Option<&mut [u64]>,
    ) -> (usize, (f64, f64)) {
        let (Some(vector), Selection::Random { stream, keep_below, .. }) = (Vector::new(self, delta), selection) else {
            return Default::default();
        };
        // SAFETY: `self` proves the features.
        unsafe { magnitude_sums::magnitude_sums(vector, Draws::new(stream, keep_below), first, mask) }
    }

    /// [`crate::compute::merge::Backend::magnitude_bracket`]: elements looked at, and the number of keys above.
    pub(crate) fn magnitude_bracket(self, delta: &Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> (usize, u64) {
        let Some(vector) = Vector::new(self, delta) else { return Default::default() };
        // SAFETY: `self` proves the features.
        unsafe { bracket::magnitude_bracket(vector, bracket, inside) }
    }

    /// [`crate::compute::merge::Backend::magnitude_sample`]: the element to go on from.
    pub(crate) fn magnitude_sample(self, delta: &Delta<'_>, run: usize, stride: usize, keys: &mut Vec<u32>) -> usize {
        match Vector::new(self, delta) {
            Some(vector) if run == sample::RUN && stride.is_multiple_of(group::GROUP) => {
                // SAFETY: `self` proves the features.
                unsafe { sample::magnitude_sample(vector, stride, keys) }
            }
            _ => 0,
        }
    }

    /// [`crate::compute::merge::Backend::non_finite`]: elements looked at, and the count.
    pub(crate) fn non_finite(self, values: Operand<'_>) -> (usize, u64) {
        let exponent = match values.dtype {
            DType::BF16 => 0x7f80,
            DType::F16 => 0x7c00,
            _ => return (0, 0),
        };
        // SAFETY: `self` proves the features.
        unsafe { non_finite::non_finite(self, values.bytes, exponent) }
    }
}
