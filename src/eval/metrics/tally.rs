//! Counting the distinct values of documents.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::statistic::{Cell, Statistic};

/// The label of a document whose gold answer is none of its choices, as in the harness.
pub(crate) const NO_GOLD: i32 = -100;
/// The label predicted when an answer names no choice.
pub(crate) const MISSING: i32 = -1;

/// Contribution of one document to a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum DocumentValue {
    /// A number: 0 or 1 for accuracies, a log-probability for perplexity.
    Number(f64),
    /// Right and predicted label as indices of the choices ([`NO_GOLD`], [`MISSING`]).
    Labels {
        /// Right label.
        gold: i32,
        /// Predicted label.
        predicted: i32,
    },
    /// The same for one of several questions.
    Question {
        /// The question's type.
        kind: String,
        /// Right label.
        gold: i32,
        /// Predicted label.
        predicted: i32,
    },
    /// A log-probability and the number of words or bytes it is spread over.
    Weighted {
        /// Sum of the natural-log probabilities.
        logprob: f64,
        /// Words or bytes.
        weight: f64,
    },
    /// A probability for each choice, and the right one.
    Probabilities {
        /// Right label.
        gold: i32,
        /// One probability a choice.
        probabilities: Vec<f64>,
    },
    /// Entities found, named and wanted.
    Entities {
        /// Predicted entities that are right.
        correct: u32,
        /// Predicted entities.
        predicted: u32,
        /// Right entities.
        gold: u32,
    },
}

impl DocumentValue {
    /// The value as samples files hold it: a number, or the harness's tuples as lists.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Number(x) => json!(x),
            Self::Labels { gold, predicted } => json!([gold, predicted]),
            // PIXIU's order is type, prediction, gold; the last item names the gold label.
            Self::Question { kind, gold, predicted } => json!([kind, predicted, gold]),
            Self::Weighted { logprob, weight } => json!([logprob, weight]),
            Self::Probabilities { gold, probabilities } => json!([gold, probabilities]),
            Self::Entities { correct, predicted, gold } => json!([correct, predicted, gold]),
        }
    }

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

    /// Whether the document counts as answered rightly, where that can be said.
    #[must_use]
    pub fn is_correct(&self) -> Option<bool> {
        match self {
            Self::Number(x) if *x == 0.0 || *x == 1.0 => Some(*x == 1.0),
            Self::Labels { gold, predicted } | Self::Question { gold, predicted, .. } => Some(gold == predicted),
            _ => None,
        }
    }
}

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
