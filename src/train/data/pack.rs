//! Several examples in a row.

use std::collections::BTreeMap;

/// Best-fit decreasing: the longest example first, each into the fullest row that still has space for
/// it, else into a new one (at most 11/9 of the fewest possible rows and a little; Johnson 1974).
/// Equal ones keep their order. What is longer than `most` gets a row of its own.
pub(super) fn best_fit_decreasing(lengths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    let length = |place: usize| lengths[place];
    order.sort_by_key(|place| std::cmp::Reverse(length(*place)));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // Rows by the tokens they have left.
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in order {
        let length = length(place);
        let fullest = open.range(length..).next().map(|(room, _)| *room);
        let (room, row) = match fullest.and_then(|room| Some((room, open.get_mut(&room)?.pop()?))) {
            Some(found) => found,
            None => {
                rows.push(Vec::new());
                (most.max(length), rows.len() - 1)
            }
        };
        if open.get(&room).is_some_and(Vec::is_empty) {
            open.remove(&room);
        }
        if let Some(row) = rows.get_mut(row) {
            row.push(place);
        }
        open.entry(room - length).or_default().push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Best fit decreasing as it is defined, one row after the other.
    fn naive(lengths: &[usize], most: usize) -> usize {
        let mut sorted = lengths.to_vec();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let mut rooms: Vec<usize> = Vec::new();
        for length in sorted {
            match rooms.iter_mut().filter(|room| **room >= length).min_by_key(|room| **room) {
                Some(room) => *room -= length,
                None => rooms.push(most - length),
            }
        }
        rooms.len()
    }

    proptest! {
        #[test]
        fn every_example_is_packed_once_and_rows_are_as_few_as_naively(
            most in 1_usize..200, parts in prop::collection::vec(0.0_f64..1.0, 0..300)
        ) {
            let lengths: Vec<usize> = parts.iter().map(|part| 1 + (part * (most - 1) as f64) as usize).collect();
            let rows = best_fit_decreasing(&lengths, most);
            let mut seen: Vec<usize> = rows.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for row in &rows {
                prop_assert!(!row.is_empty() && row.iter().map(|i| lengths[*i]).sum::<usize>() <= most);
            }
            prop_assert!(rows.len().abs_diff(naive(&lengths, most)) <= 1, "{} rows", rows.len());
        }
    }
}
