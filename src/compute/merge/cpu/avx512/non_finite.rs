//! Count of infinities and NaN among 16-bit elements.

use std::arch::x86_64::{_mm512_and_si512, _mm512_cmpeq_epi16_mask, _mm512_loadu_si512, _mm512_set1_epi16};

use crate::compute::simd::Avx512;

/// Counts 16-bit elements whose bits under `exponent` are all set. Returns the elements of whole registers and the count.
#[target_feature(enable = "avx512f,avx512bw,popcnt")]
pub(crate) fn non_finite(_: Avx512, bytes: &[u8], exponent: u16) -> (usize, u64) {
    let exponent = _mm512_set1_epi16(exponent.cast_signed());
    let (whole, _) = bytes.as_chunks::<64>();
    let mut count = 0;
    for bytes in whole {
        // SAFETY: a register has as many bytes.
        let bits = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        count += u64::from(_mm512_cmpeq_epi16_mask(_mm512_and_si512(bits, exponent), exponent).count_ones());
    }
    (whole.len() * 32, count)
}
