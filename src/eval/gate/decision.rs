//! Evidence for and against a drop beyond a tolerance, and the verdict it allows.

use serde::Serialize;

use crate::eval::compare::{Mover, SmallClass};
use crate::eval::interval::Resampled;
use crate::stats::discordant::Discordant;
use crate::stats::distribution::{binomial_at_least, binomial_at_most, normal_quantile, solve, student_at_least};

/// The power with which the reported number of documents would decide.
pub(crate) const POWER: f64 = 0.8;

/// The outcome of a check or of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Shown to hold.
    Pass,
    /// Not shown either way.
    Inconclusive,
    /// Shown not to hold.
    Fail,
}

impl Verdict {
    /// In capitals, as in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Fail => "FAIL",
        }
    }
}

/// Evidence of the documents about a quantity that must not exceed a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evidence {
    /// The quantity: a drop, or for `min` the score itself.
    pub value: f64,
    /// One-sided bounds at the check's alpha.
    pub bounds: [f64; 2],
    /// Small when the limit is shown to be broken.
    pub p_broken: f64,
    /// Small when the limit is shown to be kept.
    pub p_kept: f64,
    /// By how much the quantity is on the wrong side of its limit (negative: right side).
    pub excess: f64,
    /// Standard deviation of a document's contribution.
    pub deviation: f64,
    /// Number of documents.
    pub documents: u64,
    /// `exact` or `bootstrap`.
    pub test: &'static str,
    /// The class whose few documents leave open what the bootstrap alone would decide.
    pub small_class: Option<SmallClass>,
    /// Factor of the number of documents that the limits of the classes ask for, where they decide.
    #[serde(skip)]
    pub times_as_many: Option<f64>,
}

impl Evidence {
    /// A drop of a metric that is right or wrong on each document: exact tests.
    #[must_use]
    pub fn of_pairs(pairs: Discordant, tolerance: f64, alpha: f64) -> Self {
        let (low, high) = pairs.bounds(1.0 - 2.0 * alpha);
        // One discordant pair more than seen: no pair at all is no proof that there are none.
        let share = (pairs.lost + pairs.won + 1) as f64 / (pairs.documents + 1) as f64;
        Self {
            value: pairs.drop(),
            bounds: [low, high],
            p_broken: pairs.p_drop_is_more(tolerance),
            p_kept: pairs.p_drop_is_less(tolerance),
            excess: pairs.drop() - tolerance,
            deviation: (share - pairs.drop().powi(2)).max(0.0).sqrt(),
            documents: pairs.documents,
            test: "exact",
            small_class: None,
            times_as_many: None,
        }
    }

    /// A share of right answers that must reach `min`: the exact binomial test.
    #[must_use]
    pub fn of_share(right: u64, documents: u64, min: f64, alpha: f64) -> Self {
        let value = right as f64 / documents as f64;
        let low = solve(|p| binomial_at_least(right, documents, p), alpha);
        let high = solve(|p| 1.0 - binomial_at_most(right, documents, p), 1.0 - alpha);
        Self {
            value,
            bounds: [low, high],
            p_broken: binomial_at_most(right, documents, min),
            p_kept: binomial_at_least(right, documents, min),
            excess: min - value,
            deviation: (value * (1.0 - value)).max(1.0 / (documents as f64 + 1.0)).sqrt(),
            documents,
            test: "exact",
            small_class: None,
            times_as_many: None,
        }
    }

    /// Any other quantity whose `excess` over its limit was bootstrapped: BCa and Student's t must
    /// agree, so the greater p-value counts. `falls` says that the quantity falls as the excess rises
    /// (a score that must reach a minimum).
    #[must_use]
    pub fn of_resamples(
        (value, excess): (f64, f64),
        falls: bool,
        resampled: &Resampled,
        documents: u64,
        alpha: f64,
    ) -> Self {
        let n = documents as f64;
        let standard_error = resampled.standard_error() * (n / (n - 1.0)).sqrt();
        // The bounds of the excess on the quantity's own scale.
        let (low, high) = (resampled.bound(alpha) - excess, resampled.bound(1.0 - alpha) - excess);
        let bounds = if falls { [value - high, value - low] } else { [value + low, value + high] };
        let (p_broken, p_kept) = if standard_error > 0.0 && n > 1.0 {
            let t = excess / standard_error;
            let level = resampled.level_of(0.0);
            (level.max(student_at_least(t, n - 1.0)), (1.0 - level).max(student_at_least(-t, n - 1.0)))
        } else {
            // No resample differs: nothing seen in n documents bounds what one document in n may hide.
            let unseen = (1.0 - excess.abs().min(1.0) / 2.0).powf(n);
            if excess > 0.0 { (unseen, 1.0) } else { (1.0, unseen) }
        };
        Self {
            value,
            bounds,
            p_broken,
            p_kept,
            excess,
            deviation: standard_error * n.sqrt(),
            documents,
            test: "bootstrap",
            small_class: None,
            times_as_many: None,
        }
    }

    /// Resampled evidence that must also hold against what the documents of each class leave open
    /// (see [`Mover`]): the greater p-value and the wider bounds count.
    #[must_use]
    pub fn within(mut self, kept: &Mover<'_>, broken: &Mover<'_>, falls: bool, alpha: f64) -> Self {
        for (p, mover) in [(&mut self.p_kept, kept), (&mut self.p_broken, broken)] {
            if *p <= alpha {
                let own = mover.p_value();
                if own > alpha {
                    self.small_class = mover.small_class(alpha);
                    self.times_as_many = mover.times_as_many(alpha);
                }
                *p = p.max(own);
            }
        }
        let (more, less) = (kept.bound(alpha) - self.excess, broken.bound(alpha) + self.excess);
        let (below, above) = if falls { (more, less) } else { (less, more) };
        let [low, high] = self.bounds;
        self.bounds = [low.min(self.value - below), high.max(self.value + above)];
        self
    }

    /// Documents that would decide with power [`POWER`] if this difference and this scatter are the
    /// true ones; `None` when the quantity sits so near its limit that no practical number would.
    #[must_use]
    pub fn documents_needed(&self, alpha: f64) -> Option<u64> {
        let z = normal_quantile(1.0 - alpha) + normal_quantile(POWER);
        let needed = (z * self.deviation / self.excess).powi(2).ceil();
        let of_classes = match (self.small_class, self.times_as_many) {
            (Some(_), None) => return None,
            (_, times) => (times.unwrap_or(0.0) * self.documents as f64).ceil(),
        };
        if !needed.is_finite() {
            return None;
        }
        let needed = needed.max(of_classes);
        // The exact tests ask for a little more than the normal approximation says.
        (needed < 1e7).then(|| (needed as u64).max(self.documents + 1))
    }
}

/// Holm's step-down adjustment: the greatest of the multiplied p-values so far, in rising order.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut greatest: f64 = 0.0;
    for (rank, index) in order.iter().enumerate() {
        greatest = greatest.max(p_values[*index] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[*index] = greatest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R: `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")`.
    #[test]
    fn holm_is_rs() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in found.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    /// Two models that are equally good but differ on every fifth document: the bootstrap of their
    /// weighted F1 may call a drop, or an improvement, in at most alpha of all samples.
    #[test]
    fn the_bootstrap_keeps_its_level_when_nothing_dropped() {
        use crate::eval::compare::{PairedTally, paired::bootstrap};
        use crate::eval::metrics::{DocumentValue, Statistic};
        use crate::stats::resample::{Draws, Resampling};
        let (samples, alpha) = (400_u64, 0.1);
        let (mut dropped, mut improved) = (0.0, 0.0);
        for sample in 0..samples {
            let mut draws = Draws::new(sample, &["level"]);
            let mut answer = |gold: i32| if draws.uniform() < 0.8 { gold } else { (gold + 1) % 3 };
            let labels = |gold, predicted| DocumentValue::Labels { gold, predicted };
            let pairs: Vec<_> = (0..150)
                .map(|index| {
                    let gold = [0, 0, 0, 1, 2][index % 5];
                    (labels(gold, answer(gold)), labels(gold, answer(gold)))
                })
                .collect();
            let tally = PairedTally::new(Statistic::F1Weighted, true, &pairs);
            let drop = tally.drop(tally.counts());
            let resampled =
                bootstrap(&[&tally], 500, Resampling::seeded(sample), &["level"], |counts| tally.drop(&counts[0]));
            let evidence = Evidence::of_resamples((drop, drop), false, &resampled, 150, alpha);
            dropped += f64::from(u8::from(evidence.p_broken <= alpha));
            improved += f64::from(u8::from(evidence.p_kept <= alpha));
        }
        // Three standard errors of the count above its greatest expectation.
        let most = alpha * samples as f64 + 3.0 * (alpha * (1.0 - alpha) * samples as f64).sqrt();
        assert!(dropped <= most && improved <= most, "{dropped} and {improved} of {samples}");
        assert!(dropped > 10.0 && improved > 10.0, "the test must not be idle: {dropped}, {improved}");
    }

    #[test]
    fn the_number_of_documents_that_would_decide_decides() {
        let seen = Discordant { lost: 18, won: 12, documents: 200 };
        let evidence = Evidence::of_pairs(seen, 0.0, 0.05);
        assert!(evidence.p_broken > 0.05);
        let needed = evidence.documents_needed(0.05).unwrap();
        let scale = |count: u64| (count as f64 * needed as f64 / 200.0).round() as u64;
        let more = Discordant { lost: scale(18), won: scale(12), documents: needed };
        assert!(Evidence::of_pairs(more, 0.0, 0.05).p_broken < 0.02, "{needed}");
        let level = Evidence::of_pairs(Discordant { lost: 12, won: 2, documents: 200 }, 0.05, 0.05);
        assert_eq!(level.documents_needed(0.05), None, "a drop exactly at the tolerance is never decided");
    }
}
