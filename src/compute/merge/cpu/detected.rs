//! [`MergeKernels`] on the CPU: register kernels of the level for the leading elements, portable bodies for the rest.

use super::portable;
use super::register_kernels::RegisterKernels as _;
use crate::compute::merge::{
    Bracket, Coefficient, ComputeType, Delta, DeltaSummary, Digit, MergeKernels, Operand, Output, Selection,
    TaskVectors, WeightedSum,
};
use crate::compute::simd::{Level, with_token};
use crate::dtype::DType;

/// The CPU, at the fastest SIMD level that it has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

/// Implementations on the CPU, which differ in the SIMD level: the CPU runs at its fastest, tests at each.
pub(super) trait AtLevel: Sync {
    /// The level.
    fn level(&self) -> Level;
}

impl AtLevel for Cpu {
    fn level(&self) -> Level {
        Level::detected()
    }
}

#[cfg(test)]
impl AtLevel for Level {
    fn level(&self) -> Level {
        *self
    }
}

/// Compute type of products: that of the vectors, which all have the same.
fn compute_of(vectors: &[Delta<'_>]) -> ComputeType {
    vectors.first().map_or(ComputeType::F32, |vector| vector.precision)
}

impl<T: AtLevel> MergeKernels for T {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn scale(&self, input: Operand<'_>, factor: f64, precision: ComputeType, output: Output<'_>) {
        portable::scale(self.level(), precision, input, factor, output);
    }

    fn weighted_sum(&self, job: &WeightedSum<'_>, mut output: Output<'_>) {
        let done = with_token!(self.level(), simd => simd.weighted_sum(job, &mut output));
        let length = job.inputs.first().map_or(0, Operand::len);
        if done == length {
            return;
        }
        let inputs: Vec<Operand<'_>> = job.inputs.iter().map(|input| input.slice(done, length)).collect();
        let coefficients: Vec<Coefficient<'_>> = job.coefficients.iter().map(|c| c.from(done)).collect();
        let job = WeightedSum { inputs: &inputs, coefficients: &coefficients, ..*job };
        portable::weighted_sum(self.level(), job.precision, &job, output.from(done));
    }

    fn task_vectors(&self, job: &TaskVectors<'_>, mut output: Output<'_>) {
        let done = with_token!(self.level(), simd => simd.task_vectors(job, &mut output));
        let length = job.base.len();
        if done == length {
            return;
        }
        let inputs: Vec<Operand<'_>> = job.inputs.iter().map(|input| input.slice(done, length)).collect();
        let coefficients: Vec<Coefficient<'_>> = job.coefficients.iter().map(|c| c.from(done)).collect();
        // `done` is a multiple of the draw group, hence of a mask's words.
        let masks: Vec<_> = job.masks.iter().map(|mask| mask.map(|mask| &mask[done / 64..])).collect();
        let job = TaskVectors {
            base: job.base.slice(done, length),
            inputs: &inputs,
            masks: &masks,
            coefficients: &coefficients,
            first_element: job.first_element + done as u64,
            ..*job
        };
        portable::task_vectors(self.level(), job.precision, &job, output.from(done));
    }

    fn products(&self, vectors: &[Delta<'_>], sums: &mut [f64]) {
        if !with_token!(self.level(), simd => simd.products(vectors, sums)) {
            portable::products(self.level(), compute_of(vectors), vectors, sums);
        }
    }

    fn column_products(&self, vectors: &[Delta<'_>], sums: &mut [f64]) {
        portable::column_products(self.level(), compute_of(vectors), vectors, sums);
    }

    fn magnitude_bracket(&self, delta: Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> u64 {
        let (done, above) = with_token!(self.level(), simd => simd.magnitude_bracket(&delta, bracket, inside));
        above + portable::magnitude_bracket(self.level(), delta.precision, delta.from(done), bracket, inside)
    }

    fn magnitude_histogram(&self, delta: Delta<'_>, digit: Digit, counts: &mut [u64]) {
        portable::magnitude_histogram(self.level(), delta.precision, delta, digit, counts);
    }

    fn magnitude_positions(&self, delta: Delta<'_>, key: u64, limit: usize) -> Vec<usize> {
        portable::magnitude_positions(self.level(), delta.precision, delta, key, limit)
    }

    fn magnitude_counts(&self, delta: Delta<'_>, key: u64) -> (u64, u64) {
        portable::magnitude_counts(self.level(), delta.precision, delta, key)
    }

    fn magnitude_sample(&self, delta: Delta<'_>, run: usize, stride: usize, keys: &mut Vec<u32>) {
        let done = with_token!(self.level(), simd => simd.magnitude_sample(&delta, run, stride, keys));
        portable::magnitude_sample(self.level(), delta.precision, delta.from(done), run, stride, keys);
    }

    fn magnitude_sums(
        &self,
        delta: Delta<'_>,
        selection: Selection,
        first_element: u64,
        mut mask: Option<&mut [u64]>,
    ) -> (f64, f64) {
        let (done, sums) = with_token!(
            self.level(),
            simd => simd.magnitude_sums(&delta, selection, first_element, mask.as_deref_mut())
        );
        if done == delta.tuned.len() {
            return sums;
        }
        // `done` is whole runs of sums, hence whole words of the mask.
        let mask = mask.map(|mask| &mut mask[done / 64..]);
        let (delta, first) = (delta.from(done), first_element + done as u64);
        let rest = portable::magnitude_sums(self.level(), delta.precision, delta, selection, first, mask);
        (sums.0 + rest.0, sums.1 + rest.1)
    }

    fn non_finite(&self, values: Operand<'_>) -> u64 {
        let (done, count) = with_token!(self.level(), simd => simd.non_finite(values));
        count + portable::non_finite(self.level(), values.slice(done, values.len()))
    }

    fn delta_summary(&self, base: Operand<'_>, tuned: &[Operand<'_>]) -> DeltaSummary {
        let wide = base.dtype == DType::F64 || tuned.iter().any(|t| t.dtype == DType::F64);
        let compute = if wide { ComputeType::F64 } else { ComputeType::F32 };
        portable::delta_summary(self.level(), compute, base, tuned)
    }
}
