//! Weighted sums with uniform coefficients.

use std::arch::x86_64::{_mm512_div_ps, _mm512_fmadd_ps, _mm512_set1_ps, _mm512_setzero_ps};

use super::group::{GROUP, Source, Target};
use crate::compute::merge::{Coefficient, ComputeType, Output, WeightedSum};
use crate::compute::simd::Avx512;

/// Writes all whole groups and returns their elements.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) fn weighted_sum(simd: Avx512, job: &WeightedSum<'_>, output: &mut Output<'_>) -> usize {
    let (Some(mut target), ComputeType::F32) = (Target::new(simd, output), job.precision) else { return 0 };
    let mut terms = Vec::with_capacity(job.inputs.len());
    for (input, coefficient) in job.inputs.iter().zip(job.coefficients) {
        let (Some(input), Coefficient::Uniform(c)) = (Source::new(simd, *input), coefficient) else { return 0 };
        terms.push((input, _mm512_set1_ps(*c as f32)));
    }
    let divisor = job.divisor.map(|divisor| _mm512_set1_ps(divisor as f32));
    let whole = terms.first().map_or(0, |(input, _)| input.len()) / GROUP * GROUP;
    for at in (0..whole).step_by(GROUP) {
        let mut sum = [_mm512_setzero_ps(); 4];
        for (input, coefficient) in &terms {
            let x = input.group(at);
            for i in 0..4 {
                sum[i] = _mm512_fmadd_ps(x[i], *coefficient, sum[i]);
            }
        }
        if let Some(divisor) = divisor {
            for sum in &mut sum {
                *sum = _mm512_div_ps(*sum, divisor);
            }
        }
        target.store(sum, at);
    }
    whole
}
