//! Blocks of draws, sixteen counters side by side.

use super::float::BLOCK;
use crate::backend::{DRAW_GROUP, draw_position};
use crate::rng::Philox;

/// The draws of a block, and the limit below which elements stay.
pub struct Drawn<'a> {
    pub words: &'a [u32],
    pub limit: u32,
}

impl<'a> Drawn<'a> {
    /// What was drawn before and kept as bits (element `i` is bit `i % 64` of word `i / 64`), of elements
    /// `start..start + n`, `start` a multiple of 64.
    #[inline(always)]
    pub fn stored(mask: &[u64], start: usize, n: usize, words: &'a mut [u32; BLOCK]) -> Self {
        for (out, bits) in words.as_chunks_mut::<64>().0.iter_mut().zip(&mask[start / 64..(start + n).div_ceil(64)]) {
            for (i, out) in out.iter_mut().enumerate() {
                *out = (!bits >> i) as u32 & 1;
            }
        }
        Drawn { words: &words[..n], limit: 1 }
    }

    /// The bits of a block, as [`Drawn::stored`] reads them.
    #[inline(always)]
    pub fn keep(&self, start: usize, mask: &mut [u64]) {
        for (bits, words) in mask[start / 64..].iter_mut().zip(self.words.chunks(64)) {
            *bits = 0;
            for (i, word) in words.iter().enumerate() {
                *bits |= u64::from(*word < self.limit) << i;
            }
        }
    }
}

/// Draws for `n` elements from `first` on.
#[inline(always)]
pub fn draw(stream: Philox, keep_below: u64, first: u64, n: usize, words: &mut [u32; BLOCK]) -> Drawn<'_> {
    let (upper, lower) = ((keep_below >> 16) as u32, keep_below as u32 & 0xffff);
    let filled = &mut words[..n.next_multiple_of(DRAW_GROUP as usize)];
    fill(stream, first, filled);
    if lower == 0 {
        return Drawn { words: &words[..n], limit: upper };
    }
    let mut undecided = false;
    for word in &*filled {
        undecided |= *word == upper;
    }
    if undecided {
        settle(stream, first, upper, lower, filled);
    }
    Drawn { words: &words[..n], limit: upper + 1 }
}

/// Fills `words` (a multiple of [`DRAW_GROUP`] long) with the upper halves of the draws of elements
/// `first..`, `first` a multiple of it too, in the order of [`draw_position`].
#[inline(always)]
fn fill(stream: Philox, first: u64, words: &mut [u32]) {
    let mut counter = first / DRAW_GROUP * 16;
    for out in words.as_chunks_mut::<{ DRAW_GROUP as usize }>().0 {
        let blocks = stream.blocks(counter);
        // One call a word, not a loop: the compiler would turn that into gathers and scatters.
        halves(&blocks[0], out, 0);
        halves(&blocks[1], out, 16);
        halves(&blocks[2], out, 32);
        halves(&blocks[3], out, 48);
        counter += 16;
    }
}

#[inline(always)]
fn halves(words: &[u32; 16], out: &mut [u32; DRAW_GROUP as usize], at: usize) {
    for lane in 0..16 {
        out[at + lane] = words[lane] & 0xffff;
    }
    for lane in 0..16 {
        out[at + 64 + lane] = words[lane] >> 16;
    }
}

/// Draws whose upper half equals the limit's are decided by their lower half: those that are not
/// below the limit's move out of reach. One in 65,536 elements comes here.
#[cold]
fn settle(stream: Philox, first: u64, upper: u32, lower: u32, words: &mut [u32]) {
    for (i, word) in words.iter_mut().enumerate().filter(|(_, word)| **word == upper) {
        if lower_half(stream, first + i as u64) >= lower {
            *word = u32::MAX;
        }
    }
}

/// The lower half of an element's draw.
pub fn lower_half(stream: Philox, element: u64) -> u32 {
    let (counter, word, high) = draw_position(element);
    let word = stream.block(counter | 1 << 63)[word];
    if high { word >> 16 } else { word & 0xffff }
}
