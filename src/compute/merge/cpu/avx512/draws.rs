//! Bit-sliced random draws, a group of 1,024 elements at a time (layout: [`crate::compute::merge::selection`]).

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_andnot_si512, _mm512_mask_shuffle_epi32, _mm512_mul_epu32,
    _mm512_or_si512, _mm512_set_epi64, _mm512_set1_epi32, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_shuffle_epi32, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_test_epi32_mask, _mm512_xor_si512,
};

use crate::compute::merge::selection::{DRAW_GROUP, PLANE_PAIRS};
use crate::rng::{Philox, ROUNDS};

/// The draws of one random selection.
#[derive(Clone, Copy)]
pub(crate) struct Draws {
    stream: Philox,
    keep_below: u64,
}

/// A bit for each element of a draw group.
pub(crate) type Bits = [u64; DRAW_GROUP as usize / 64];

impl Draws {
    pub(crate) fn new(stream: Philox, keep_below: u64) -> Self {
        Self { stream, keep_below }
    }

    /// Draws the group of elements from `first` on (a multiple of [`DRAW_GROUP`]): a set bit for each that is kept.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
    #[inline]
    pub(crate) fn bits(self, first: u64) -> Bits {
        let mut bits = [u64::MAX; 16];
        if self.keep_below > u64::from(u32::MAX) {
            return bits;
        }
        let (zero, ones) = (_mm512_setzero_si512(), _mm512_set1_epi32(-1));
        let (mut keep, mut undecided) = ([zero; 2], [ones; 2]);
        let mut limit = self.keep_below as u32;
        for pair in 0..PLANE_PAIRS {
            let words = words(self.stream, (first / DRAW_GROUP * PLANE_PAIRS + pair) * 16);
            for plane in words.chunks_exact(2) {
                for i in 0..2 {
                    if limit >> 31 == 1 {
                        // The draw's bit is 0 where the limit's is 1: below it.
                        keep[i] = _mm512_or_si512(keep[i], _mm512_andnot_si512(plane[i], undecided[i]));
                        undecided[i] = _mm512_and_si512(undecided[i], plane[i]);
                    } else {
                        undecided[i] = _mm512_andnot_si512(plane[i], undecided[i]);
                    }
                }
                limit <<= 1;
            }
            let any = _mm512_or_si512(undecided[0], undecided[1]);
            if limit == 0 || _mm512_test_epi32_mask(any, any) == 0 {
                break;
            }
        }
        for (bits, keep) in bits.as_chunks_mut::<8>().0.iter_mut().zip(keep) {
            // SAFETY: a register has as many bits.
            unsafe { _mm512_storeu_si512(bits.as_mut_ptr().cast(), keep) };
        }
        bits
    }
}

/// [`Philox::blocks`] in registers: words 0 to 3 of sixteen counters. Even and odd counters are in registers of their own,
/// each in the lower half of a 64-bit lane, where products need no widening.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
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

/// One Philox round of eight counters.
#[target_feature(enable = "avx512f")]
#[inline]
fn mixed(x: [__m512i; 4], first: __m512i, second: __m512i, key0: __m512i, key1: __m512i) -> [__m512i; 4] {
    let (a, b) = (_mm512_mul_epu32(first, x[0]), _mm512_mul_epu32(second, x[2]));
    // Upper halves of the products, one by a shift, one by a shuffle: they issue on different ports.
    let (up_a, up_b) = (_mm512_srli_epi64::<32>(a), _mm512_shuffle_epi32::<0xf5>(b));
    [_mm512_xor_si512(_mm512_xor_si512(up_b, x[1]), key0), b, _mm512_xor_si512(_mm512_xor_si512(up_a, x[3]), key1), a]
}
