//! The kernels that merges spend their time in, in AVX-512 registers from load to store, for f32 arithmetic.
//!
//! The compiler's versions of the bodies in [`super::maps`] and [`super::reductions`] pass every intermediate result
//! through the first-level cache; these keep up with memory.

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

use super::register_kernels::RegisterKernels;
use crate::compute::merge::{Bracket, Delta, Operand, Output, Selection, TaskVectors, WeightedSum};
use crate::compute::simd::Avx512;
use crate::dtype::DType;

impl RegisterKernels for Avx512 {
    fn weighted_sum(self, job: &WeightedSum<'_>, output: &mut Output<'_>) -> usize {
        // SAFETY: `Avx512` is only constructed after the CPU feature check.
        unsafe { weighted_sum::weighted_sum(self, job, output) }
    }

    fn task_vectors(self, job: &TaskVectors<'_>, output: &mut Output<'_>) -> usize {
        task_vectors::task_vectors(self, job, output)
    }

    /// Products of two vectors (`slerp`); more pairs than three do not fit the registers.
    fn products(self, vectors: &[Delta<'_>], sums: &mut [f64]) -> bool {
        let ([a, b], [aa, ab, bb, ..]) = (vectors, sums) else { return false };
        let (Some(a), Some(b)) = (Vector::new(self, a), Vector::new(self, b)) else { return false };
        // SAFETY: `Avx512` is only constructed after the CPU feature check.
        let found = unsafe { products::products(a, b) };
        for (sum, found) in [aa, ab, bb].into_iter().zip(found) {
            *sum += found;
        }
        true
    }

    /// Sums under a random selection; others are rare.
    fn magnitude_sums(
        self,
        delta: &Delta<'_>,
        selection: Selection,
        first: u64,
        mask: Option<&mut [u64]>,
    ) -> (usize, (f64, f64)) {
        let (Some(vector), Selection::Random { stream, keep_below, .. }) = (Vector::new(self, delta), selection) else {
            return Default::default();
        };
        // SAFETY: `Avx512` is only constructed after the CPU feature check.
        unsafe { magnitude_sums::magnitude_sums(vector, Draws::new(stream, keep_below), first, mask) }
    }

    fn magnitude_bracket(self, delta: &Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> (usize, u64) {
        let Some(vector) = Vector::new(self, delta) else { return Default::default() };
        // SAFETY: `Avx512` is only constructed after the CPU feature check.
        unsafe { bracket::magnitude_bracket(vector, bracket, inside) }
    }

    fn magnitude_sample(self, delta: &Delta<'_>, run: usize, stride: usize, keys: &mut Vec<u32>) -> usize {
        match Vector::new(self, delta) {
            Some(vector) if run == sample::RUN && stride.is_multiple_of(group::GROUP) => {
                // SAFETY: `Avx512` is only constructed after the CPU feature check.
                unsafe { sample::magnitude_sample(vector, stride, keys) }
            }
            _ => 0,
        }
    }

    fn non_finite(self, values: Operand<'_>) -> (usize, u64) {
        let exponent = match values.dtype {
            DType::BF16 => 0x7f80,
            DType::F16 => 0x7c00,
            _ => return (0, 0),
        };
        // SAFETY: `Avx512` is only constructed after the CPU feature check.
        unsafe { non_finite::non_finite(self, values.bytes, exponent) }
    }
}
