//! Keys above and inside a bracket.

use std::arch::x86_64::{
    _mm512_and_si512, _mm512_castps_si512, _mm512_cmpgt_epu32_mask, _mm512_cmple_epu32_mask,
    _mm512_maskz_compress_epi32, _mm512_set1_epi32, _mm512_storeu_si512, _mm512_sub_epi32,
};

use super::group::{GROUP, Vector};
use crate::compute::merge::Bracket;

/// Returns the elements processed (all whole groups) and the number of keys above; keys inside are appended as offsets.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
pub(crate) fn magnitude_bracket(vector: Vector<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> (usize, u64) {
    let low = _mm512_set1_epi32((bracket.low as u32).cast_signed());
    let high = _mm512_set1_epi32((bracket.high as u32).cast_signed());
    let width = _mm512_sub_epi32(high, low);
    let magnitude = _mm512_set1_epi32(i32::MAX);
    let whole = vector.len() / GROUP * GROUP;
    let mut above = 0;
    for at in (0..whole).step_by(GROUP) {
        // Whole registers are stored and only the keys inside advance the end: a branch on a key would be mispredicted.
        inside.reserve(2 * GROUP);
        let mut end = inside.len();
        let mut larger = 0;
        for (i, value) in vector.group(at).into_iter().enumerate() {
            let key = _mm512_and_si512(_mm512_castps_si512(value), magnitude);
            larger |= u64::from(_mm512_cmpgt_epu32_mask(key, high)) << (16 * i);
            // A key below the bracket wraps around to an offset beyond its width.
            let offset = _mm512_sub_epi32(key, low);
            let here = _mm512_cmple_epu32_mask(offset, width);
            // SAFETY: at most 48 keys of this group were appended before, and `reserve` made the capacity 128.
            unsafe {
                let to = inside.as_mut_ptr().add(end).cast();
                _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(here, offset));
            }
            end += here.count_ones() as usize;
        }
        // SAFETY: the elements up to `end` were written.
        unsafe { inside.set_len(end) };
        above += u64::from(larger.count_ones());
    }
    (whole, above)
}
