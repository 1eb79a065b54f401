//! Counting the distinct values of documents.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cell::Cell;
use super::classes::Classes;
use super::document_value::DocumentValue;
use super::statistic::Statistic;

impl DocumentValue {
    /// Reads what [`DocumentValue::to_json`] or the harness wrote for a metric of this statistic.
    #[must_use]
    pub fn from_json(statistic: Statistic, value: &Value) -> Option<Self> {
        let number = |value: &Value| match value {
            Value::Number(n) => n.as_f64(),
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            _ => None,
        };
        let label = |value: &Value| number(value).map(|x| x as i32);
        let list = value.as_array().map_or(&[][..], Vec::as_slice);
        match (statistic, list) {
            (Statistic::Brier, [gold, probabilities]) => {
                let probabilities = match probabilities {
                    // The harness writes the text of an array, `"[0.9 0.1]"`.
                    Value::String(text) => text
                        .trim_matches(['[', ']'])
                        .split_whitespace()
                        .map(|word| word.parse().ok())
                        .collect::<Option<_>>()?,
                    list => list.as_array()?.iter().map(number).collect::<Option<_>>()?,
                };
                Some(Self::Probabilities { gold: label(gold)?, probabilities })
            }
            (Statistic::WeightedPerplexity | Statistic::BitsPerByte, [logprob, weight]) => {
                Some(Self::Weighted { logprob: number(logprob)?, weight: number(weight)? })
            }
            (Statistic::EntityF1, [correct, predicted, gold]) => {
                let count = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
                Some(Self::Entities { correct: count(correct)?, predicted: count(predicted)?, gold: count(gold)? })
            }
            (Statistic::AverageF1, [kind, predicted, gold, ..]) => Some(Self::Question {
                kind: kind.as_str()?.to_owned(),
                gold: label(gold)?,
                predicted: label(predicted)?,
            }),
            (s, [gold, predicted]) if s.takes_labels() => {
                Some(Self::Labels { gold: label(gold)?, predicted: label(predicted)? })
            }
            (s, []) if !s.takes_labels() => number(value).map(Self::Number),
            _ => None,
        }
    }
}

/// The distinct values of a task's documents with their counts.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Aggregation over documents.
    pub statistic: Statistic,
    /// Labels and question types.
    pub classes: Classes,
    /// Distinct values, most frequent first.
    pub cells: Vec<Cell>,
    /// Documents with each value.
    pub counts: Vec<u64>,
}

impl Tally {
    /// Counts the values.
    #[must_use]
    pub(crate) fn new(statistic: Statistic, values: &[DocumentValue]) -> Self {
        let classes = Classes::of(values);
        let (cells, counts) = distinct(values.iter().map(|value| [classes.cell(value)]));
        Self { statistic, classes, cells: cells.into_iter().map(|[cell]| cell).collect(), counts }
    }

    /// Number of documents.
    #[must_use]
    pub(crate) fn documents(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The statistic of these documents.
    #[must_use]
    pub(crate) fn value(&self) -> f64 {
        self.statistic.of(&self.classes, &self.cells, &self.counts)
    }
}

/// Distinct tuples of cells and how often each occurs, most frequent first; equally frequent ones in
/// the order of their bits, so that the result does not depend on the documents' order.
#[must_use]
pub(crate) fn distinct<const N: usize>(values: impl Iterator<Item = [Cell; N]>) -> (Vec<[Cell; N]>, Vec<u64>) {
    let mut seen: BTreeMap<[[u64; 3]; N], ([Cell; N], u64)> = BTreeMap::new();
    for value in values {
        seen.entry(value.map(Cell::bits)).or_insert((value, 0)).1 += 1;
    }
    let mut list: Vec<_> = seen.into_values().collect();
    list.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    list.into_iter().unzip()
}
