//! Random selections as bits, a group of draws at a time.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_cmpeq_epi16_mask, _mm512_cmplt_epu16_mask, _mm512_mask_shuffle_epi32,
    _mm512_mul_epu32, _mm512_set_epi64, _mm512_set1_epi16, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_shuffle_epi32, _mm512_srli_epi64, _mm512_xor_si512, _pext_u32,
};

use super::super::random::lower_half;
use crate::backend::DRAW_GROUP;
use crate::rng::{Philox, ROUNDS};

/// The draws of one random selection.
#[derive(Clone, Copy)]
pub struct Draws {
    stream: Philox,
    /// Halves of the limit.
    upper: u32,
    lower: u32,
}

impl Draws {
    pub fn new(stream: Philox, keep_below: u64) -> Self {
        Self { stream, upper: (keep_below >> 16) as u32, lower: keep_below as u32 & 0xffff }
    }

    /// A bit for each of the 128 elements from `first` on (a multiple of 128): whether it was drawn.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi2")]
    #[inline]
    pub fn bits(self, first: u64) -> [u64; 2] {
        // The limit 2^32.
        if self.upper > 0xffff {
            return [u64::MAX; 2];
        }
        let words = words(self.stream, first / DRAW_GROUP * 16);
        let upper = _mm512_set1_epi16((self.upper as u16).cast_signed());
        let (mut low, mut high) = (0, 0);
        for (i, words) in words.iter().enumerate() {
            // Lower halves of the words at even places, upper ones at odd places.
            let below = _mm512_cmplt_epu16_mask(*words, upper);
            low |= u64::from(_pext_u32(below, 0x5555_5555)) << (16 * i);
            high |= u64::from(_pext_u32(below, 0xaaaa_aaaa)) << (16 * i);
        }
        let mut bits = [low, high];
        if self.lower > 0 {
            for (i, words) in words.iter().enumerate() {
                let undecided = _mm512_cmpeq_epi16_mask(*words, upper);
                if undecided != 0 {
                    self.settle(undecided, i, first, &mut bits);
                }
            }
        }
        bits
    }

    /// Draws of word `word` whose upper halves equal the limit's are decided by their lower halves.
    #[cold]
    fn settle(self, mut undecided: u32, word: usize, first: u64, bits: &mut [u64; 2]) {
        while undecided != 0 {
            let half = undecided.trailing_zeros();
            undecided &= undecided - 1;
            let (lane, high) = (half / 2, half % 2);
            let at = 16 * word as u32 + lane;
            if lower_half(self.stream, first + u64::from(at + 64 * high)) < self.lower {
                bits[high as usize] |= 1 << at;
            }
        }
    }
}

/// [`Philox::blocks`] in registers: words 0 to 3 of sixteen counters. Even counters and odd ones are apart, each in the
/// lower half of a 64-bit lane, where products need no widening.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi2")]
#[inline]
fn words(stream: Philox, counter: u64) -> [__m512i; 4] {
    let first = _mm512_set1_epi64(i64::from(Philox::MULTIPLIERS[0]));
    let second = _mm512_set1_epi64(i64::from(Philox::MULTIPLIERS[1]));
    let start = _mm512_set1_epi64(counter.cast_signed());
    let upper = _mm512_set1_epi64((counter >> 32).cast_signed());
    let zero = _mm512_setzero_si512();
    let mut even = [_mm512_add_epi64(start, _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0)), upper, zero, zero];
    let mut odd = [_mm512_add_epi64(start, _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1)), upper, zero, zero];
    for round in 0..ROUNDS {
        let key = stream.round_key(round);
        let (key0, key1) = (_mm512_set1_epi64(i64::from(key[0])), _mm512_set1_epi64(i64::from(key[1])));
        even = mixed(even, first, second, key0, key1);
        odd = mixed(odd, first, second, key0, key1);
    }
    let mut words = [zero; 4];
    for i in 0..4 {
        words[i] = _mm512_mask_shuffle_epi32::<0xa0>(even[i], 0xaaaa, odd[i]);
    }
    words
}

/// A round of eight counters.
#[target_feature(enable = "avx512f")]
#[inline]
fn mixed(x: [__m512i; 4], first: __m512i, second: __m512i, key0: __m512i, key1: __m512i) -> [__m512i; 4] {
    let (a, b) = (_mm512_mul_epu32(first, x[0]), _mm512_mul_epu32(second, x[2]));
    // Upper halves of the products, moved by a shift or by a shuffle: different ports carry them out.
    let (up_a, up_b) = (_mm512_srli_epi64::<32>(a), _mm512_shuffle_epi32::<0xf5>(b));
    [_mm512_xor_si512(_mm512_xor_si512(up_b, x[1]), key0), b, _mm512_xor_si512(_mm512_xor_si512(up_a, x[3]), key1), a]
}
