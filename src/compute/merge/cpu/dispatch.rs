//! One compiled copy of each kernel per instruction set, chosen when first called.
//!
//! The bodies contain no fused operation that is not written as one, so every copy computes the
//! same bits.

use multiversion::multiversion;

use super::avx512::Avx512;
use super::{kernels, statistics};
use crate::compute::merge::{
    Backend, Bracket, Coefficient, Delta, DeltaStatistics, Digit, Operand, Output, Precision, Selection, TaskVectors,
    WeightedSum,
};
use crate::dtype::DType;

/// The CPU backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

/// Compiles `$body::<f32>` and `$body::<f64>` for each instruction set.
macro_rules! versions {
    ($f32:ident, $f64:ident, $module:ident :: $body:ident, ($($arg:ident : $type:ty),*) $(-> $result:ty)?) => {
        #[multiversion(targets(
            "x86_64+avx+avx2+fma+f16c+bmi1+bmi2+lzcnt+popcnt+avx512f+avx512bw+avx512cd+avx512dq+avx512vl",
            "x86_64+avx+avx2+fma+f16c+bmi1+bmi2+lzcnt+popcnt",
        ))]
        fn $f32($($arg: $type),*) $(-> $result)? {
            $module::$body::<f32>($($arg),*)
        }

        // F64 checkpoints are rare: one vector version is worth its build time, two are not.
        #[multiversion(targets("x86_64+avx+avx2+fma+f16c+bmi1+bmi2+lzcnt+popcnt"))]
        fn $f64($($arg: $type),*) $(-> $result)? {
            $module::$body::<f64>($($arg),*)
        }
    };
}

versions!(scale_f32, scale_f64, kernels::scale, (input: Operand<'_>, factor: f64, output: &mut Output<'_>));
versions!(weighted_sum_f32, weighted_sum_f64, kernels::weighted_sum, (job: &WeightedSum<'_>, output: &mut Output<'_>));
versions!(task_vectors_f32, task_vectors_f64, kernels::task_vectors, (job: &TaskVectors<'_>, output: &mut Output<'_>));
versions!(products_f32, products_f64, statistics::products, (vectors: &[Delta<'_>], sums: &mut [f64]));
versions!(columns_f32, columns_f64, statistics::column_products, (vectors: &[Delta<'_>], sums: &mut [f64]));
versions!(
    bracket_f32, bracket_f64, statistics::magnitude_bracket,
    (delta: &Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> u64
);
versions!(
    histogram_f32, histogram_f64, statistics::magnitude_histogram,
    (delta: &Delta<'_>, digit: Digit, counts: &mut [u64])
);
versions!(
    positions_f32, positions_f64, statistics::magnitude_positions,
    (delta: &Delta<'_>, key: u64, limit: usize) -> Vec<usize>
);
versions!(counts_f32, counts_f64, statistics::magnitude_counts, (delta: &Delta<'_>, key: u64) -> (u64, u64));
versions!(
    sample_f32, sample_f64, statistics::magnitude_sample,
    (delta: &Delta<'_>, run: usize, stride: usize, keys: &mut Vec<u32>)
);
versions!(
    sums_f32, sums_f64, statistics::magnitude_sums,
    (delta: &Delta<'_>, selection: Selection, first_element: u64, mask: Option<&mut [u64]>) -> (f64, f64)
);
#[multiversion(targets(
    "x86_64+avx+avx2+fma+f16c+bmi1+bmi2+lzcnt+popcnt+avx512f+avx512bw+avx512cd+avx512dq+avx512vl",
    "x86_64+avx+avx2+fma+f16c+bmi1+bmi2+lzcnt+popcnt",
))]
fn non_finite(values: Operand<'_>) -> u64 {
    statistics::non_finite(values)
}

versions!(
    delta_statistics_f32, delta_statistics_f64, statistics::delta_statistics,
    (base: Operand<'_>, tuned: &[Operand<'_>]) -> DeltaStatistics
);

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn scale(&self, input: Operand<'_>, factor: f64, precision: Precision, mut output: Output<'_>) {
        match precision {
            Precision::F32 => scale_f32(input, factor, &mut output),
            Precision::F64 => scale_f64(input, factor, &mut output),
        }
    }

    fn weighted_sum(&self, job: &WeightedSum<'_>, mut output: Output<'_>) {
        let done = Avx512::detect().map_or(0, |cpu| cpu.weighted_sum(job, &mut output));
        let length = job.inputs.first().map_or(0, Operand::len);
        if done == length {
            return;
        }
        let inputs: Vec<Operand<'_>> = job.inputs.iter().map(|input| input.slice(done, length)).collect();
        let coefficients: Vec<Coefficient<'_>> = job.coefficients.iter().map(|c| c.from(done)).collect();
        let job = WeightedSum { inputs: &inputs, coefficients: &coefficients, ..*job };
        let mut output = output.from(done);
        match job.precision {
            Precision::F32 => weighted_sum_f32(&job, &mut output),
            Precision::F64 => weighted_sum_f64(&job, &mut output),
        }
    }

    fn task_vectors(&self, job: &TaskVectors<'_>, mut output: Output<'_>) {
        let done = Avx512::detect().map_or(0, |cpu| cpu.task_vectors(job, &mut output));
        let length = job.base.len();
        if done == length {
            return;
        }
        let inputs: Vec<Operand<'_>> = job.inputs.iter().map(|input| input.slice(done, length)).collect();
        let coefficients: Vec<Coefficient<'_>> = job.coefficients.iter().map(|c| c.from(done)).collect();
        // Whole words of bits are behind.
        let masks: Vec<_> = job.masks.iter().map(|mask| mask.map(|mask| &mask[done / 64..])).collect();
        let job = TaskVectors {
            base: job.base.slice(done, length),
            inputs: &inputs,
            masks: &masks,
            coefficients: &coefficients,
            first_element: job.first_element + done as u64,
            ..*job
        };
        let mut output = output.from(done);
        match job.precision {
            Precision::F32 => task_vectors_f32(&job, &mut output),
            Precision::F64 => task_vectors_f64(&job, &mut output),
        }
    }

    fn products(&self, vectors: &[Delta<'_>], sums: &mut [f64]) {
        if Avx512::detect().is_some_and(|cpu| cpu.products(vectors, sums)) {
            return;
        }
        match vectors.first().map(|v| v.precision) {
            Some(Precision::F64) => products_f64(vectors, sums),
            _ => products_f32(vectors, sums),
        }
    }

    fn column_products(&self, vectors: &[Delta<'_>], sums: &mut [f64]) {
        match vectors.first().map(|v| v.precision) {
            Some(Precision::F64) => columns_f64(vectors, sums),
            _ => columns_f32(vectors, sums),
        }
    }

    fn magnitude_bracket(&self, delta: Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> u64 {
        let (done, above) =
            Avx512::detect().map_or_else(Default::default, |cpu| cpu.magnitude_bracket(&delta, bracket, inside));
        let delta = delta.from(done);
        above
            + match delta.precision {
                Precision::F32 => bracket_f32(&delta, bracket, inside),
                Precision::F64 => bracket_f64(&delta, bracket, inside),
            }
    }

    fn magnitude_histogram(&self, delta: Delta<'_>, digit: Digit, counts: &mut [u64]) {
        match delta.precision {
            Precision::F32 => histogram_f32(&delta, digit, counts),
            Precision::F64 => histogram_f64(&delta, digit, counts),
        }
    }

    fn magnitude_positions(&self, delta: Delta<'_>, key: u64, limit: usize) -> Vec<usize> {
        match delta.precision {
            Precision::F32 => positions_f32(&delta, key, limit),
            Precision::F64 => positions_f64(&delta, key, limit),
        }
    }

    fn magnitude_counts(&self, delta: Delta<'_>, key: u64) -> (u64, u64) {
        match delta.precision {
            Precision::F32 => counts_f32(&delta, key),
            Precision::F64 => counts_f64(&delta, key),
        }
    }

    fn magnitude_sample(&self, delta: Delta<'_>, run: usize, stride: usize, keys: &mut Vec<u32>) {
        let done = Avx512::detect().map_or(0, |cpu| cpu.magnitude_sample(&delta, run, stride, keys));
        let delta = delta.from(done);
        match delta.precision {
            Precision::F32 => sample_f32(&delta, run, stride, keys),
            Precision::F64 => sample_f64(&delta, run, stride, keys),
        }
    }

    fn magnitude_sums(
        &self,
        delta: Delta<'_>,
        selection: Selection,
        first_element: u64,
        mut mask: Option<&mut [u64]>,
    ) -> (f64, f64) {
        let (done, sums) = Avx512::detect().map_or_else(Default::default, |cpu| {
            cpu.magnitude_sums(&delta, selection, first_element, mask.as_deref_mut())
        });
        if done == delta.tuned.len() {
            return sums;
        }
        let (delta, first_element) = (delta.from(done), first_element + done as u64);
        // Whole words were written so far.
        let mask = mask.map(|mask| &mut mask[done / 64..]);
        let rest = match delta.precision {
            Precision::F32 => sums_f32(&delta, selection, first_element, mask),
            Precision::F64 => sums_f64(&delta, selection, first_element, mask),
        };
        (sums.0 + rest.0, sums.1 + rest.1)
    }

    fn non_finite(&self, values: Operand<'_>) -> u64 {
        let (done, count) = Avx512::detect().map_or((0, 0), |cpu| cpu.non_finite(values));
        count + non_finite(values.slice(done, values.len()))
    }

    fn delta_statistics(&self, base: Operand<'_>, tuned: &[Operand<'_>]) -> DeltaStatistics {
        if base.dtype == DType::F64 || tuned.iter().any(|t| t.dtype == DType::F64) {
            delta_statistics_f64(base, tuned)
        } else {
            delta_statistics_f32(base, tuned)
        }
    }
}
