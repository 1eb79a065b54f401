//! Cutting tensors into fixed chunks.

use std::ops::Range;

/// Elements of a chunk. Fixed, whatever the thread count: sums are formed per chunk and added in
/// chunk order, so this number is part of the result. A multiple of the generator's group.
pub(crate) const CHUNK_ELEMENTS: u64 = 512 * 1024;

/// Elements of a part: few enough to stay in the second-level cache between two uses.
pub(crate) const PART_ELEMENTS: u64 = 128 * 1024;

/// The chunks of a tensor of `elements` elements, in order.
pub(crate) fn chunks(elements: u64) -> impl Iterator<Item = Range<u64>> {
    (0..elements.div_ceil(CHUNK_ELEMENTS)).map(move |i| {
        let start = i * CHUNK_ELEMENTS;
        start..(start + CHUNK_ELEMENTS).min(elements)
    })
}

/// Cuts a chunk's range into parts.
pub(crate) fn parts(chunk: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let Range { start, end } = *chunk;
    let step = usize::try_from(PART_ELEMENTS).unwrap_or(usize::MAX);
    (start..end).step_by(step).map(move |start| start..(start + PART_ELEMENTS).min(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_chunk_once_and_are_whole_groups_of_draws() {
        for length in [0, 1, PART_ELEMENTS, PART_ELEMENTS + 1, CHUNK_ELEMENTS] {
            let mut end = CHUNK_ELEMENTS;
            for part in parts(&(CHUNK_ELEMENTS..CHUNK_ELEMENTS + length)) {
                assert_eq!(part.start, end);
                assert!(part.start.is_multiple_of(crate::compute::merge::DRAW_GROUP) && part.end > part.start);
                end = part.end;
            }
            assert_eq!(end, CHUNK_ELEMENTS + length);
        }
    }
}
