//! Numbers of labels and question types, and documents as cells of a table of counts.

use std::collections::BTreeMap;

use super::cell::Cell;
use super::document_value::DocumentValue;

/// Numbers that labels and question types get, shared by all runs that are compared.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    labels: BTreeMap<i32, u16>,
    kinds: BTreeMap<String, u16>,
}

impl Classes {
    /// The classes named by any of these values.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a DocumentValue>) -> Self {
        let mut classes = Self::default();
        for value in values {
            match value {
                DocumentValue::Labels { gold, predicted } => classes.add_labels(*gold, *predicted),
                DocumentValue::Question { kind, gold, predicted } => {
                    classes.kinds.insert(kind.clone(), 0);
                    classes.add_labels(*gold, *predicted);
                }
                _ => {}
            }
        }
        for (index, place) in classes.labels.values_mut().enumerate() {
            *place = index as u16;
        }
        for (index, place) in classes.kinds.values_mut().enumerate() {
            *place = index as u16;
        }
        classes
    }

    fn add_labels(&mut self, gold: i32, predicted: i32) {
        self.labels.insert(gold, 0);
        self.labels.insert(predicted, 0);
    }

    /// Number of distinct labels.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.labels.len()
    }

    /// Number of distinct question types.
    #[must_use]
    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// The labels themselves, in the order of their numbers.
    pub fn label_values(&self) -> impl Iterator<Item = i32> + '_ {
        self.labels.keys().copied()
    }

    /// The class of label 1, which is the positive one of a binary F1.
    #[must_use]
    pub fn positive(&self) -> Option<u16> {
        self.labels.get(&1).copied()
    }

    /// A value with its labels numbered; unknown labels, which cannot be, count as the first.
    #[must_use]
    pub fn cell(&self, value: &DocumentValue) -> Cell {
        let label = |label: &i32| self.labels.get(label).copied().unwrap_or(0);
        match value {
            DocumentValue::Number(x) => Cell::Number(*x),
            DocumentValue::Labels { gold, predicted } => {
                Cell::Labels { kind: 0, gold: label(gold), predicted: label(predicted) }
            }
            DocumentValue::Question { kind, gold, predicted } => Cell::Labels {
                kind: self.kinds.get(kind).copied().unwrap_or(0),
                gold: label(gold),
                predicted: label(predicted),
            },
            DocumentValue::Weighted { logprob, weight } => Cell::Weighted { logprob: *logprob, weight: *weight },
            DocumentValue::Probabilities { gold, probabilities } => Cell::Number(
                probabilities
                    .iter()
                    .enumerate()
                    .map(|(index, p)| (p - f64::from(u8::from(i32::try_from(index) == Ok(*gold)))).powi(2))
                    .sum(),
            ),
            DocumentValue::Entities { correct, predicted, gold } => Cell::Entities {
                correct: f64::from(*correct),
                predicted: f64::from(*predicted),
                gold: f64::from(*gold),
            },
        }
    }
}
