//! Random selections of a block of elements, as bits (layout: [`crate::compute::merge::selection`]).

use super::float::BLOCK;
use crate::compute::merge::selection::{DRAW_GROUP, PLANE_PAIRS};
use crate::rng::Philox;

/// A bit for each element of a block, bit `i % 64` of word `i / 64` for element `i`.
pub(crate) type Bits = [u64; BLOCK / 64];

/// Draws `n` elements from `first` on (a multiple of [`DRAW_GROUP`]): a set bit for each that is kept, none beyond them in
/// the last word.
#[inline(always)]
pub(crate) fn draw(stream: Philox, keep_below: u64, first: u64, n: usize) -> Bits {
    let mut bits = [0; BLOCK / 64];
    let group = first / DRAW_GROUP;
    for (i, bits) in bits.as_chunks_mut::<16>().0.iter_mut().enumerate().take(n.div_ceil(DRAW_GROUP as usize)) {
        *bits = draw_group(stream, keep_below, group + i as u64);
    }
    if !n.is_multiple_of(64) {
        bits[n / 64] &= u64::MAX >> (64 - n % 64);
    }
    bits
}

/// Compares the draws of a group with the limit, bit plane by bit plane from the highest, until every one is decided or
/// the rest of the limit is zero.
#[inline(always)]
fn draw_group(stream: Philox, keep_below: u64, group: u64) -> [u64; 16] {
    if keep_below > u64::from(u32::MAX) {
        return [u64::MAX; 16];
    }
    let (mut keep, mut undecided) = ([[0_u32; 16]; 2], [[u32::MAX; 16]; 2]);
    let mut limit = keep_below as u32;
    for pair in 0..PLANE_PAIRS {
        for plane in stream.blocks((group * PLANE_PAIRS + pair) * 16).as_chunks::<2>().0 {
            let ones = 0_u32.wrapping_sub(limit >> 31);
            for half in 0..2 {
                for lane in 0..16 {
                    keep[half][lane] |= undecided[half][lane] & !plane[half][lane] & ones;
                    undecided[half][lane] &= !(plane[half][lane] ^ ones);
                }
            }
            limit <<= 1;
        }
        let mut any = 0;
        for lane in undecided.as_flattened() {
            any |= lane;
        }
        if limit == 0 || any == 0 {
            break;
        }
    }
    let mut bits = [0; 16];
    for (bits, halves) in bits.iter_mut().zip(keep.as_flattened().as_chunks::<2>().0) {
        *bits = u64::from(halves[0]) | u64::from(halves[1]) << 32;
    }
    bits
}

/// Expands bits to words: 1 for drawn elements.
#[inline(always)]
pub(crate) fn spread(bits: &[u64], words: &mut [u32; BLOCK]) {
    for (out, bits) in words.as_chunks_mut::<64>().0.iter_mut().zip(bits) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = (bits >> i) as u32 & 1;
        }
    }
}
