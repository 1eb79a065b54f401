//! Dot products of two vectors, in f64.

use std::arch::x86_64::{
    __m512, __m512d, _mm512_castps512_ps256, _mm512_cvtps_pd, _mm512_extractf32x8_ps, _mm512_fmadd_pd,
    _mm512_setzero_pd, _mm512_storeu_pd,
};

use super::group::{GROUP, Group, Scratch, Vector};
use crate::compute::merge::sum::{SUM_LANES, fold_lanes};

/// Sums over even elements, and over odd ones.
type Lanes = [[__m512d; 2]; 2];

/// Returns `a.a`, `a.b` and `b.b`: all whole groups by lanes, then the rest padded with zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(crate) fn products(a: Vector<'_>, b: Vector<'_>) -> [f64; 3] {
    let mut sums = [[[_mm512_setzero_pd(); 2]; 2]; 3];
    let whole = a.len() / GROUP * GROUP;
    for at in (0..whole).step_by(GROUP) {
        sums = plus(sums, a.group(at), b.group(at));
    }
    if whole < a.len() {
        // A product of two zeros leaves a sum as it is.
        let (mut scratch_a, mut scratch_b) = (Scratch::default(), Scratch::default());
        sums = plus(sums, a.last(&mut scratch_a).group(0), b.last(&mut scratch_b).group(0));
    }
    [fold(sums[0]), fold(sums[1]), fold(sums[2])]
}

#[target_feature(enable = "avx512f,avx512dq,fma")]
#[inline]
fn plus(mut sums: [Lanes; 3], a: Group, b: Group) -> [Lanes; 3] {
    for i in 0..4 {
        let (a, b) = (widened(a[i]), widened(b[i]));
        for half in 0..2 {
            // A product of two f32 is exact in f64: fusing it with the addition changes no bit.
            sums[0][i % 2][half] = _mm512_fmadd_pd(a[half], a[half], sums[0][i % 2][half]);
            sums[1][i % 2][half] = _mm512_fmadd_pd(a[half], b[half], sums[1][i % 2][half]);
            sums[2][i % 2][half] = _mm512_fmadd_pd(b[half], b[half], sums[2][i % 2][half]);
        }
    }
    sums
}

#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn widened(values: __m512) -> [__m512d; 2] {
    [_mm512_cvtps_pd(_mm512_castps512_ps256(values)), _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(values))]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn fold(sums: Lanes) -> f64 {
    let mut lanes = [0.0; SUM_LANES];
    for (first, sums) in sums.into_iter().enumerate() {
        let mut half = [0.0; SUM_LANES / 2];
        for (half, sums) in half.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            // SAFETY: the chunk is eight f64, a register.
            unsafe { _mm512_storeu_pd(half.as_mut_ptr(), sums) };
        }
        for (i, sum) in half.into_iter().enumerate() {
            lanes[2 * i + first] = sum;
        }
    }
    fold_lanes(lanes)
}
