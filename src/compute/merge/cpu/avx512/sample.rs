//! A sample of keys.

use std::arch::x86_64::{_mm512_and_si512, _mm512_castps_si512, _mm512_set1_epi32, _mm512_storeu_si512};

use super::group::{GROUP, Vector};

/// Elements of a run: half a group.
pub(crate) const RUN: usize = GROUP / 2;

/// Appends the keys of the first [`RUN`] of every `stride` elements (a multiple of [`GROUP`]), as long as whole groups
/// start there. Returns the next element of the sample.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
pub(crate) fn magnitude_sample(vector: Vector<'_>, stride: usize, keys: &mut Vec<u32>) -> usize {
    let magnitude = _mm512_set1_epi32(i32::MAX);
    let mut start = 0;
    while start + GROUP <= vector.len() {
        let group = vector.group(start);
        let mut run = [0; RUN];
        for (i, values) in group.into_iter().take(2).enumerate() {
            let found = _mm512_and_si512(_mm512_castps_si512(values), magnitude);
            // SAFETY: a half of the run each.
            unsafe { _mm512_storeu_si512(run.as_mut_ptr().add(16 * i).cast(), found) };
        }
        keys.extend_from_slice(&run);
        start += stride;
    }
    start.min(vector.len())
}
