//! Sums of magnitudes before and after a random selection.

use std::arch::x86_64::{
    __m512, _mm512_abs_ps, _mm512_add_ps, _mm512_mask_add_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::draws::Draws;
use super::group::{GROUP, Vector};
use crate::backend::{DRAW_GROUP, LANES, SUM_RUN, fold_lanes};

/// The sums over all whole runs, and how many elements those have; a bit for each element goes to `mask`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
pub fn magnitude_sums(
    vector: Vector<'_>,
    draws: Draws,
    first: u64,
    mut mask: Option<&mut [u64]>,
) -> (usize, (f64, f64)) {
    let runs = vector.len() / SUM_RUN;
    let (mut all, mut kept) = (0.0, 0.0);
    for run in 0..runs {
        let (mut everything, mut selected) = (_mm512_setzero_ps(), _mm512_setzero_ps());
        for at in (run * SUM_RUN..(run + 1) * SUM_RUN).step_by(DRAW_GROUP as usize) {
            let bits = draws.bits(first + at as u64);
            for (i, bits) in bits.into_iter().enumerate() {
                let values = vector.group(at + i * GROUP);
                for (lane, value) in values.into_iter().enumerate() {
                    let magnitude = _mm512_abs_ps(value);
                    everything = _mm512_add_ps(everything, magnitude);
                    selected = _mm512_mask_add_ps(selected, (bits >> (16 * lane)) as u16, selected, magnitude);
                }
            }
            if let Some(mask) = mask.as_deref_mut() {
                mask[at / GROUP..][..bits.len()].copy_from_slice(&bits);
            }
        }
        let everything = fold(everything);
        all += everything;
        // NaN stays whatever was drawn, and makes both sums NaN.
        kept += if everything.is_nan() { everything } else { fold(selected) };
    }
    (runs * SUM_RUN, (all, kept))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn fold(sums: __m512) -> f64 {
    let mut lanes = [0.0_f32; LANES];
    // SAFETY: sixteen lanes have room for sixteen.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), sums) };
    fold_lanes(lanes.map(f64::from))
}
