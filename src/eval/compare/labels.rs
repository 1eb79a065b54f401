//! The labels that a task's documents can have, as far as its results show them.

use crate::eval::metrics::DocumentValue;

/// Labels further apart than this are names, between which nothing is missing.
const WIDEST_GAP: i32 = 256;

/// The labels of the values, those of `choices`, and those between the least and the greatest. One label
/// alone is no classification: a second one exists that no document shows.
///
/// Negative numbers (no answer, no right choice) are no labels, unless they are right somewhere.
pub(super) fn known_labels<'a>(values: impl Iterator<Item = &'a DocumentValue>, choices: usize) -> Vec<i32> {
    let mut known: Vec<i32> = (0..i32::try_from(choices).unwrap_or(0)).collect();
    for value in values {
        if let DocumentValue::Labels { gold, predicted } | DocumentValue::Question { gold, predicted, .. } = value {
            known.push(*gold);
            known.extend((*predicted >= 0).then_some(*predicted));
        }
    }
    known.sort_unstable();
    known.dedup();
    let own: Vec<i32> = known.iter().copied().filter(|label| *label >= 0).collect();
    if let (Some(least), Some(most)) = (own.first(), own.last())
        && most - least < WIDEST_GAP
    {
        known.extend(*least..=*most);
    }
    known.sort_unstable();
    known.dedup();
    if let [only] = known[..] {
        known.push(i32::from(only == 0));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_labels_are_known_by_choices_gaps_and_loneliness() {
        let values: Vec<DocumentValue> =
            [(0, 0), (3, -1)].iter().map(|&(gold, predicted)| DocumentValue::Labels { gold, predicted }).collect();
        assert_eq!(known_labels(values.iter(), 0), [0, 1, 2, 3]);
        assert_eq!(known_labels(values.iter(), 5), [0, 1, 2, 3, 4]);
        assert_eq!(known_labels(values[..1].iter(), 0), [0, 1]);
        assert_eq!(known_labels(values[..1].iter(), 2), [0, 1]);
    }
}
