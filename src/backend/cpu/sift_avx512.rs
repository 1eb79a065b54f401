//! Keys inside a bracket, sixteen at a time: the compiler makes no compressing stores by itself.

use std::arch::x86_64::{
    _mm512_cmpgt_epu32_mask, _mm512_cmple_epu32_mask, _mm512_mask_cmpge_epu32_mask, _mm512_mask_compressstoreu_epi32,
    _mm512_maskz_loadu_epi32, _mm512_set1_epi32, _mm512_sub_epi32,
};

use super::float::BLOCK;
use crate::backend::LANES;

/// [`super::float::Float::sift`], where the CPU has AVX-512.
#[inline(always)]
pub fn sift(keys: &[u32], low: u32, high: u32, inside: &mut [u32; BLOCK]) -> Option<(usize, usize)> {
    let available = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("popcnt");
    // SAFETY: the CPU has the features.
    available.then(|| unsafe { sixteen_at_a_time(keys, low, high, inside) })
}

#[target_feature(enable = "avx512f,popcnt")]
fn sixteen_at_a_time(keys: &[u32], low: u32, high: u32, inside: &mut [u32; BLOCK]) -> (usize, usize) {
    assert!(keys.len() <= BLOCK, "a block of keys");
    let (lowest, highest) = (_mm512_set1_epi32(low.cast_signed()), _mm512_set1_epi32(high.cast_signed()));
    let (mut above, mut count) = (0, 0);
    for group in keys.chunks(LANES) {
        let lanes = u16::MAX >> (LANES - group.len());
        // SAFETY: only the lanes of the group are read.
        let keys = unsafe { _mm512_maskz_loadu_epi32(lanes, group.as_ptr().cast()) };
        // Lanes beyond the group are zero, which is above nothing.
        above += _mm512_cmpgt_epu32_mask(keys, highest).count_ones();
        let here = _mm512_mask_cmpge_epu32_mask(lanes & _mm512_cmple_epu32_mask(keys, highest), keys, lowest);
        // SAFETY: at most as many as there were keys so far are written, and those fit a block.
        unsafe {
            let to = inside.as_mut_ptr().add(count).cast();
            _mm512_mask_compressstoreu_epi32(to, here, _mm512_sub_epi32(keys, lowest));
        }
        count += here.count_ones() as usize;
    }
    (above as usize, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::float;
    use crate::rng::Philox;

    #[test]
    fn finds_what_plain_rust_finds() {
        let stream = Philox::new(7);
        for n in [0, 1, 15, 16, 17, 1000, BLOCK] {
            let keys: Vec<u32> = (0..n as u64).map(|i| stream.block(i)[0] % 1000).collect();
            for (low, high) in [(0, 999), (0, 0), (400, 420), (999, 999), (1000, u32::MAX), (500, u32::MAX)] {
                let (mut ours, mut plain) = ([0; BLOCK], [0; BLOCK]);
                let Some((above, count)) = sift(&keys, low, high, &mut ours) else { return };
                let expected = float::sift(&keys, low, high, &mut plain);
                assert_eq!((above, count), expected, "{n} keys, {low} to {high}");
                assert_eq!(ours[..count], plain[..count]);
            }
        }
    }
}
