//! Blocks of draws, sixteen counters side by side.

use crate::backend::{DRAW_GROUP, draw_position};
use crate::rng::Philox;

/// Fills `words` (a multiple of [`DRAW_GROUP`] long) with the upper halves of the draws of elements
/// `first..`, `first` a multiple of it too, in the order of [`draw_position`].
#[inline(always)]
pub fn fill(stream: Philox, first: u64, words: &mut [u32]) {
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

/// Draws whose upper half equals the limit's are decided by their lower half: those below the
/// limit's become 0, so that they compare as smaller. One in 65,536 elements comes here.
pub fn settle(stream: Philox, first: u64, upper: u32, lower: u32, words: &mut [u32]) {
    for (i, word) in words.iter_mut().enumerate().filter(|(_, word)| **word == upper) {
        if lower_half(stream, first + i as u64) < lower {
            *word = 0;
        }
    }
}

/// The lower half of an element's draw.
pub fn lower_half(stream: Philox, element: u64) -> u32 {
    let (counter, word, high) = draw_position(element);
    let word = stream.block(counter | 1 << 63)[word];
    if high { word >> 16 } else { word & 0xffff }
}
