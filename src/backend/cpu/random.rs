//! Blocks of draws, sixteen counters side by side.

use crate::rng::Philox;

/// Fills `words` (a multiple of 64 long) with the draws of elements `first..`, `first` a multiple
/// of 64, in the order of [`crate::backend::draw_position`].
#[inline(always)]
pub fn fill(stream: Philox, first: u64, words: &mut [u32]) {
    for (group, out) in words.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let counter = first / 64 * 16 + group as u64 * 16;
        let [a, b, c, d] = stream.blocks(counter);
        out[..16].copy_from_slice(&a);
        out[16..32].copy_from_slice(&b);
        out[32..48].copy_from_slice(&c);
        out[48..].copy_from_slice(&d);
    }
}
