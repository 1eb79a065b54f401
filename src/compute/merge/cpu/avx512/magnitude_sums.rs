//! Sums of magnitudes before and after a random selection.

use std::arch::x86_64::{
    __m512, _mm_add_pd, _mm_cvtsd_f64, _mm_unpackhi_pd, _mm256_add_pd, _mm256_castpd256_pd128, _mm256_extractf128_pd,
    _mm512_abs_ps, _mm512_add_pd, _mm512_add_ps, _mm512_castpd512_pd256, _mm512_castps512_ps256, _mm512_cvtps_pd,
    _mm512_extractf32x8_ps, _mm512_extractf64x4_pd, _mm512_mask_add_ps, _mm512_setzero_ps,
};

use super::draws::Draws;
use super::group::{GROUP, Vector, masks_of};
use crate::compute::merge::DRAW_GROUP;
use crate::compute::merge::sum::SUM_RUN;

const _: () = assert!(SUM_RUN == DRAW_GROUP as usize, "the draws of a run are made at once");

/// Returns the elements of all whole runs and their sums; a bit for each element goes to `mask`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi2")]
pub(crate) fn magnitude_sums(
    vector: Vector<'_>,
    draws: Draws,
    first: u64,
    mut mask: Option<&mut [u64]>,
) -> (usize, (f64, f64)) {
    let runs = vector.len() / SUM_RUN;
    let (mut all, mut kept) = (0.0, 0.0);
    for run in 0..runs {
        let at = run * SUM_RUN;
        let bits = draws.bits(first + at as u64);
        let (mut all_lanes, mut selected) = ([_mm512_setzero_ps(); 2], [_mm512_setzero_ps(); 2]);
        for (i, bits) in bits.into_iter().enumerate() {
            let (values, drawn) = (vector.group(at + i * GROUP), masks_of(bits));
            for register in 0..4 {
                let (magnitude, lanes) = (_mm512_abs_ps(values[register]), register % 2);
                all_lanes[lanes] = _mm512_add_ps(all_lanes[lanes], magnitude);
                selected[lanes] = _mm512_mask_add_ps(selected[lanes], drawn[register], selected[lanes], magnitude);
            }
        }
        if let Some(mask) = mask.as_deref_mut() {
            mask[at / GROUP..][..bits.len()].copy_from_slice(&bits);
        }
        let all_lanes = fold(all_lanes);
        all += all_lanes;
        // NaN is kept whatever was drawn, and makes both sums NaN.
        kept += if all_lanes.is_nan() { all_lanes } else { fold(selected) };
    }
    (runs * SUM_RUN, (all, kept))
}

/// [`crate::compute::merge::sum::fold_lanes`] of lanes in f64, even and odd ones in two registers: only its last sum mixes
/// them.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn fold([even, odd]: [__m512; 2]) -> f64 {
    folded(even) + folded(odd)
}

#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn folded(lanes: __m512) -> f64 {
    let (low, high) = (_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps::<1>(lanes));
    let eight = _mm512_add_pd(_mm512_cvtps_pd(low), _mm512_cvtps_pd(high));
    let four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd::<1>(eight));
    let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
    _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two))
}
