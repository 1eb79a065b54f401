//! Flat ranges cut at the rows of a matrix.

use std::ops::Range;

/// Cuts a range of flat indices at multiples of `length`: pairs of row index and range.
pub(crate) fn rows(range: Range<u64>, length: u64) -> impl Iterator<Item = (u64, Range<u64>)> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        (start < range.end && length > 0).then(|| {
            let row = start / length;
            let end = ((row + 1) * length).min(range.end);
            let piece = start..end;
            start = end;
            (row, piece)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_once() {
        let pieces: Vec<_> = rows(5..12, 4).collect();
        assert_eq!(pieces, [(1, 5..8), (2, 8..12)]);
    }
}
