//! Range of a metric's values.

use super::PairedTally;
use crate::eval::metrics::find;
use crate::eval::metrics::registry::Kind;
use crate::eval::metrics::statistic::{Cell, Statistic};

/// Bounds of a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    /// Least score.
    pub low: f64,
    /// Greatest score.
    pub high: f64,
}

const UNIT: Range = Range { low: 0.0, high: 1.0 };

impl Range {
    /// The range of a metric by its name; `None` where it has no bounds or is not ours.
    #[must_use]
    pub(crate) fn of_metric(name: &str) -> Option<Self> {
        let info = find(name).ok()?;
        match info.statistic {
            Statistic::Perplexity | Statistic::WeightedPerplexity | Statistic::BitsPerByte | Statistic::Median => None,
            Statistic::Mcc | Statistic::MccPixiu => Some(Self { low: -1.0, high: 1.0 }),
            Statistic::Brier => Some(Self { low: 0.0, high: 2.0 }),
            Statistic::Mean if info.kind == Kind::Likelihood => None,
            _ => Some(UNIT),
        }
    }

    /// The range of a metric of compared documents: that of its name, else 0 to 1 where it is a mean of such
    /// numbers.
    #[must_use]
    pub(crate) fn of_documents(name: &str, tally: &PairedTally) -> Option<Self> {
        let unit = |cell: &Cell| matches!(cell, Cell::Number(x) if (0.0..=1.0).contains(x));
        let mean = tally.statistic == Statistic::Mean && tally.baseline.iter().chain(&tally.candidate).all(unit);
        Self::of_metric(name).or(mean.then_some(UNIT))
    }

    /// The greatest drop that a gate may allow: no metric of at most 1 is judged by a tolerance above 1,
    /// though a correlation can fall by 2.
    #[must_use]
    pub(crate) fn greatest_drop(self) -> f64 {
        self.high.max(1.0)
    }

    /// The range that holds all of these.
    #[must_use]
    pub(crate) fn widest(ranges: Vec<Self>) -> Option<Self> {
        let join = |a: Self, b: Self| Self { low: a.low.min(b.low), high: a.high.max(b.high) };
        ranges.into_iter().reduce(join)
    }

    /// Whether scores of these two ranges can be averaged.
    #[must_use]
    pub(crate) fn averages_with(first: Option<Self>, second: Option<Self>) -> bool {
        first.is_some() == second.is_some()
    }
}
