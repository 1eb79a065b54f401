//! Statistics of a task, computed from the counts of its documents' distinct values.
//!
//! The F1 family follows PIXIU's and scikit-learn's `f1_score(labels=labels in the gold list)`: an
//! answer that names no label lowers recall and is no class of its own. The Matthews coefficient is
//! the multi-class one of Gorodkin ("Comparing two K-category assignments by a K-category
//! correlation coefficient", 2004), which does see missing answers as a class.

use super::tally::Classes;

/// One distinct value, ready for arithmetic.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Cell {
    Number(f64),
    Labels { kind: u16, gold: u16, predicted: u16 },
    Weighted { logprob: f64, weight: f64 },
    Entities { correct: f64, predicted: f64, gold: f64 },
}

impl Cell {
    /// A key that tells distinct values apart.
    #[must_use]
    pub fn bits(self) -> [u64; 3] {
        match self {
            Self::Number(x) => [x.to_bits(), 0, 0],
            Self::Labels { kind, gold, predicted } => [u64::from(kind), u64::from(gold), u64::from(predicted)],
            Self::Weighted { logprob, weight } => [logprob.to_bits(), weight.to_bits(), 0],
            Self::Entities { correct, predicted, gold } => [correct.to_bits(), predicted.to_bits(), gold.to_bits()],
        }
    }
}

/// Aggregation over documents, in the harness's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// Mean of numbers.
    Mean,
    /// The upper median, as in the harness.
    Median,
    /// Mean of squared distances between probabilities and the right answer.
    Brier,
    /// Binary F1 of class 1.
    F1,
    /// F1 of the labels in the gold list, weighted by their frequency there.
    F1Weighted,
    /// Plain mean of the F1 of the labels in the gold list.
    F1Macro,
    /// F1 over pooled counts of the labels in the gold list.
    F1Micro,
    /// Matthews correlation coefficient; every label is a class.
    Mcc,
    /// The same with all predictions that are no gold label as one class (PIXIU).
    MccPixiu,
    /// exp of the negative mean.
    Perplexity,
    /// exp of the negative mean per word or byte.
    WeightedPerplexity,
    /// Negative mean per byte in bits.
    BitsPerByte,
    /// F1 over pooled entity counts.
    EntityF1,
    /// Weighted F1 of each question type, then the plain mean (PIXIU's `AvgF1`).
    AverageF1,
}

impl Statistic {
    /// The aggregation's name, the harness's where it has one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Median => "median",
            Self::Brier => "brier_score",
            Self::F1 => "f1",
            Self::F1Weighted => "f1_weighted",
            Self::F1Macro => "f1_macro",
            Self::F1Micro => "f1_micro",
            Self::Mcc | Self::MccPixiu => "matthews_corrcoef",
            Self::Perplexity => "perplexity",
            Self::WeightedPerplexity => "weighted_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::EntityF1 => "entity_f1",
            Self::AverageF1 => "avg_f1",
        }
    }

    /// Whether documents contribute a pair of labels.
    #[must_use]
    pub fn takes_labels(self) -> bool {
        matches!(
            self,
            Self::F1 | Self::F1Weighted | Self::F1Macro | Self::F1Micro | Self::Mcc | Self::MccPixiu | Self::AverageF1
        )
    }

    /// Whether the statistic is a plain mean over documents, whose standard error has a closed form.
    #[must_use]
    pub fn is_mean(self) -> bool {
        matches!(self, Self::Mean | Self::Brier)
    }

    /// The statistic of documents given as distinct values and counts; NaN for no documents.
    #[must_use]
    pub fn of(self, classes: &Classes, cells: &[Cell], counts: &[u64]) -> f64 {
        match self {
            Self::Mean | Self::Brier => mean(cells, counts),
            Self::Median => median(cells, counts),
            Self::Perplexity => (-mean(cells, counts)).exp(),
            Self::WeightedPerplexity => (-weighted_mean(cells, counts)).exp(),
            Self::BitsPerByte => -weighted_mean(cells, counts) / std::f64::consts::LN_2,
            Self::EntityF1 => entity_f1(cells, counts),
            Self::AverageF1 => average_f1(classes, cells, counts),
            Self::F1 => {
                let confusion = Confusion::new(classes, cells, counts, None);
                classes.positive().map_or(0.0, |class| confusion.f1(usize::from(class)))
            }
            Self::F1Weighted => Confusion::new(classes, cells, counts, None).weighted_f1(),
            Self::F1Macro => Confusion::new(classes, cells, counts, None).macro_f1(),
            Self::F1Micro => Confusion::new(classes, cells, counts, None).micro_f1(),
            Self::Mcc => Confusion::new(classes, cells, counts, None).mcc(false),
            Self::MccPixiu => Confusion::new(classes, cells, counts, None).mcc(true),
        }
    }
}

fn mean(cells: &[Cell], counts: &[u64]) -> f64 {
    let (mut sum, mut documents) = (0.0, 0.0);
    for (cell, &count) in cells.iter().zip(counts) {
        if let Cell::Number(x) = cell {
            sum += x * count as f64;
            documents += count as f64;
        }
    }
    sum / documents
}

fn weighted_mean(cells: &[Cell], counts: &[u64]) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (cell, &count) in cells.iter().zip(counts) {
        if let Cell::Weighted { logprob, weight } = cell {
            sum += logprob * count as f64;
            weights += weight * count as f64;
        }
    }
    sum / weights
}

fn median(cells: &[Cell], counts: &[u64]) -> f64 {
    let numbers = cells.iter().zip(counts).filter_map(|(cell, &count)| match cell {
        Cell::Number(x) => Some((*x, count)),
        _ => None,
    });
    let mut numbers: Vec<(f64, u64)> = numbers.collect();
    numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let middle = numbers.iter().map(|(_, count)| count).sum::<u64>() / 2;
    let mut passed = 0;
    for (x, count) in numbers {
        passed += count;
        if passed > middle {
            return x;
        }
    }
    f64::NAN
}

fn entity_f1(cells: &[Cell], counts: &[u64]) -> f64 {
    let (mut both, mut sides) = (0.0, 0.0);
    for (cell, &count) in cells.iter().zip(counts) {
        if let Cell::Entities { correct, predicted, gold } = cell {
            both += correct * count as f64;
            sides += (predicted + gold) * count as f64;
        }
    }
    if sides == 0.0 { 0.0 } else { 2.0 * both / sides }
}

fn average_f1(classes: &Classes, cells: &[Cell], counts: &[u64]) -> f64 {
    let (mut sum, mut kinds) = (0.0, 0.0);
    for kind in 0..classes.kinds() {
        let confusion = Confusion::new(classes, cells, counts, Some(kind as u16));
        if confusion.documents > 0.0 {
            sum += confusion.weighted_f1();
            kinds += 1.0;
        }
    }
    sum / kinds
}

/// Parts of a confusion matrix that the F1 family and the Matthews coefficient need: its diagonal
/// and its margins.
struct Confusion {
    correct: Vec<f64>,
    gold: Vec<f64>,
    predicted: Vec<f64>,
    documents: f64,
}

impl Confusion {
    fn new(classes: &Classes, cells: &[Cell], counts: &[u64], only: Option<u16>) -> Self {
        let mut matrix = Self {
            correct: vec![0.0; classes.labels()],
            gold: vec![0.0; classes.labels()],
            predicted: vec![0.0; classes.labels()],
            documents: 0.0,
        };
        for (cell, &count) in cells.iter().zip(counts) {
            let Cell::Labels { kind, gold, predicted } = *cell else { continue };
            if only.is_some_and(|only| only != kind) {
                continue;
            }
            let count = count as f64;
            matrix.gold[usize::from(gold)] += count;
            matrix.predicted[usize::from(predicted)] += count;
            matrix.documents += count;
            if gold == predicted {
                matrix.correct[usize::from(gold)] += count;
            }
        }
        matrix
    }

    fn f1(&self, class: usize) -> f64 {
        let sides = self.gold[class] + self.predicted[class];
        if sides == 0.0 { 0.0 } else { 2.0 * self.correct[class] / sides }
    }

    fn in_gold(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.gold.len()).filter(|&class| self.gold[class] > 0.0)
    }

    fn weighted_f1(&self) -> f64 {
        self.in_gold().map(|class| self.gold[class] * self.f1(class)).sum::<f64>() / self.documents
    }

    fn macro_f1(&self) -> f64 {
        self.in_gold().map(|class| self.f1(class)).sum::<f64>() / self.in_gold().count() as f64
    }

    fn micro_f1(&self) -> f64 {
        let correct: f64 = self.in_gold().map(|class| self.correct[class]).sum();
        let sides: f64 = self.in_gold().map(|class| self.gold[class] + self.predicted[class]).sum();
        if sides == 0.0 { 0.0 } else { 2.0 * correct / sides }
    }

    fn mcc(&self, merge_unknown: bool) -> f64 {
        let n = self.documents;
        let correct: f64 = self.correct.iter().sum();
        let (mut crossed, mut golds, mut predictions, mut unknown) = (0.0, 0.0, 0.0, 0.0);
        for (&gold, &predicted) in self.gold.iter().zip(&self.predicted) {
            crossed += gold * predicted;
            golds += gold * gold;
            if merge_unknown && gold == 0.0 {
                unknown += predicted;
            } else {
                predictions += predicted * predicted;
            }
        }
        predictions += unknown * unknown;
        let spread = (n * n - predictions) * (n * n - golds);
        if spread <= 0.0 { 0.0 } else { (correct * n - crossed) / spread.sqrt() }
    }
}
