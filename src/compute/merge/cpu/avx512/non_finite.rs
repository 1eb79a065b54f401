//! Counting infinities and NaN among halves.

use std::arch::x86_64::{_mm512_and_si512, _mm512_cmpeq_epi16_mask, _mm512_loadu_si512, _mm512_set1_epi16};

use super::Avx512;

/// Elements whose bits under `exponent` are all set, among elements of two bytes; whole registers of them, and how many
/// elements those have.
#[target_feature(enable = "avx512f,avx512bw,popcnt")]
pub(crate) fn non_finite(_proof: Avx512, bytes: &[u8], exponent: u16) -> (usize, u64) {
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
