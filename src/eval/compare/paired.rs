//! Statistics of paired documents: the counts of distinct pairs of values are resampled together, so
//! that what the two models share cancels.

use super::super::interval::{Resampled, jackknife};
use super::labels::known_labels;
use crate::eval::metrics::statistic::Cell;
use crate::eval::metrics::tally::{Classes, distinct};
use crate::eval::metrics::{DocumentValue, Statistic};
use crate::stats::discordant::Discordant;
use crate::stats::resample::{Resampling, replicates};

/// Resamples of paired tests.
pub(crate) const DRAWS: usize = 20_000;

/// The distinct pairs of values of a task's documents.
#[derive(Debug, Clone)]
pub struct PairedTally {
    /// Aggregation over documents.
    pub statistic: Statistic,
    /// Whether more is better.
    pub higher_is_better: bool,
    pub(super) classes: Classes,
    pub(super) baseline: Vec<Cell>,
    pub(super) candidate: Vec<Cell>,
    pub(super) counts: Vec<u64>,
}

impl PairedTally {
    /// Counts pairs of (baseline, candidate).
    #[must_use]
    pub fn new(statistic: Statistic, higher_is_better: bool, pairs: &[(DocumentValue, DocumentValue)]) -> Self {
        Self::with_choices(statistic, higher_is_better, pairs, 0)
    }

    /// [`PairedTally::new`] for documents with so many choices: a label that no document has is a class all the
    /// same, whose share these documents only bound.
    #[must_use]
    pub fn with_choices(
        statistic: Statistic,
        higher_is_better: bool,
        pairs: &[(DocumentValue, DocumentValue)],
        choices: usize,
    ) -> Self {
        let values = || pairs.iter().flat_map(|(a, b)| [a, b]);
        let known = if statistic.takes_labels() { known_labels(values(), choices) } else { Vec::new() };
        let known: Vec<DocumentValue> =
            known.into_iter().map(|label| DocumentValue::Labels { gold: label, predicted: label }).collect();
        let classes = Classes::of(values().chain(&known));
        let (cells, counts) = distinct(pairs.iter().map(|(a, b)| [classes.cell(a), classes.cell(b)]));
        let (baseline, candidate) = cells.into_iter().map(|[a, b]| (a, b)).unzip();
        Self { statistic, higher_is_better, classes, baseline, candidate, counts }
    }

    /// Number of documents.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Counts of the distinct pairs, to be resampled.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Scores of baseline and candidate under these counts.
    #[must_use]
    pub fn scores(&self, counts: &[u64]) -> (f64, f64) {
        let of = |cells: &[Cell]| self.statistic.of(&self.classes, cells, counts);
        (of(&self.baseline), of(&self.candidate))
    }

    /// By how much the candidate is worse, in the direction of the metric.
    #[must_use]
    pub fn drop(&self, counts: &[u64]) -> f64 {
        let (baseline, candidate) = self.scores(counts);
        if self.higher_is_better { baseline - candidate } else { candidate - baseline }
    }

    /// Documents that only one side gets right, for metrics that are 0 or 1 on each document.
    #[must_use]
    pub fn discordant(&self) -> Option<Discordant> {
        if self.statistic != Statistic::Mean {
            return None;
        }
        let mut found = Discordant { lost: 0, won: 0, documents: self.documents() };
        for ((a, b), count) in self.baseline.iter().zip(&self.candidate).zip(&self.counts) {
            let (Cell::Number(a), Cell::Number(b)) = (*a, *b) else { return None };
            if ![a, b].iter().all(|x| *x == 0.0 || *x == 1.0) {
                return None;
            }
            let worse = if self.higher_is_better { a > b } else { a < b };
            if worse {
                found.lost += count;
            } else if a != b {
                found.won += count;
            }
        }
        Some(found)
    }

    /// Whether every document has the same value on both sides.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.baseline == self.candidate
    }
}

/// The paired bootstrap of a quantity of one or several tasks, which are resampled each by itself.
pub fn bootstrap(
    tasks: &[&PairedTally],
    draws: usize,
    resampling: Resampling,
    stream: &[&str],
    quantity: impl Fn(&[Vec<u64>]) -> f64 + Sync,
) -> Resampled {
    let strata: Vec<&[u64]> = tasks.iter().map(|task| task.counts()).collect();
    let whole: Vec<Vec<u64>> = strata.iter().map(|counts| counts.to_vec()).collect();
    let values = replicates(&strata, draws, resampling, stream, &quantity);
    Resampled::new(quantity(&whole), values, jackknife(&strata, &quantity))
}
