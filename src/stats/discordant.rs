//! Exact tests for metrics that are right or wrong on each document.
//!
//! Of `documents` pairs, `lost` are right in the baseline only and `won` in the candidate only; the
//! drop is the difference of their shares. Without a tolerance the test is McNemar's, conditional on
//! the discordant pairs and binomial. With a tolerance it is unconditional: the score statistic of
//! Tango ("Equivalence test and confidence interval for the difference in proportions for the
//! paired-sample design", 1998) orders the outcomes, and the p-value is the greatest tail
//! probability over the unknown share of discordant pairs, searched in its confidence interval
//! (Berger and Boos, "P values maximized over a confidence set for the nuisance parameter", 1994).
//! Its level therefore holds in samples of any size.

use crate::stats::distribution::{binomial_at_least, binomial_at_most, ln_binomial, normal_quantile, solve};

/// Probability that the confidence interval misses the discordant share; added to the p-value.
const MISSED: f64 = 1e-5;
/// Shares tried within that interval.
const SHARES: usize = 41;

/// Pairs of right-or-wrong answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discordant {
    /// Right in the baseline only.
    pub lost: u64,
    /// Right in the candidate only.
    pub won: u64,
    /// All pairs.
    pub documents: u64,
}

/// Tail of the score statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Outcomes with at least this drop.
    Upper,
    /// Outcomes with at most this drop.
    Lower,
}

impl Discordant {
    /// Share lost less share won.
    #[must_use]
    pub fn drop(self) -> f64 {
        (self.lost as f64 - self.won as f64) / self.documents as f64
    }

    /// Two-sided exact McNemar p-value: whether the models differ at all.
    #[must_use]
    pub fn mcnemar(self) -> f64 {
        let discordant = self.lost + self.won;
        (2.0 * binomial_at_most(self.lost.min(self.won), discordant, 0.5)).min(1.0)
    }

    /// One-sided p-value of "the drop is at most `tolerance`": small when it is shown to be more.
    #[must_use]
    pub fn p_drop_is_more(self, tolerance: f64) -> f64 {
        if tolerance == 0.0 {
            return binomial_at_least(self.lost, self.lost + self.won, 0.5);
        }
        self.unconditional(tolerance, Tail::Upper)
    }

    /// One-sided p-value of "the drop is at least `tolerance`": small when it is shown to be less.
    #[must_use]
    pub fn p_drop_is_less(self, tolerance: f64) -> f64 {
        if tolerance == 0.0 {
            return binomial_at_least(self.won, self.lost + self.won, 0.5);
        }
        self.unconditional(tolerance, Tail::Lower)
    }

    /// Tango's score statistic against a drop of `tolerance`.
    fn score(self, tolerance: f64) -> f64 {
        let (lost, won, n) = (self.lost as f64, self.won as f64, self.documents as f64);
        let excess = lost - won - n * tolerance;
        // The share won that fits best when the drop is `tolerance`.
        let b = lost + won + (lost - won) * tolerance - 2.0 * n * tolerance;
        let c = 8.0 * n * won * tolerance * (1.0 - tolerance);
        let share = ((b + (b * b + c).max(0.0).sqrt()) / (4.0 * n)).clamp((-tolerance).max(0.0), 1.0);
        let variance = n * (2.0 * share + tolerance - tolerance * tolerance);
        if excess == 0.0 {
            0.0
        } else if variance <= 0.0 {
            excess.signum() * f64::INFINITY
        } else {
            excess / variance.sqrt()
        }
    }

    /// Bounds between which the drop lies with two-sided probability `level`, by Tango's score.
    #[must_use]
    pub fn bounds(self, level: f64) -> (f64, f64) {
        let z = normal_quantile(f64::midpoint(1.0, level));
        // The statistic falls as the supposed drop rises; drops lie in (-1, 1).
        let at = |x: f64| -self.score(2.0 * x - 1.0);
        let low = 2.0 * solve(at, -z) - 1.0;
        let high = 2.0 * solve(at, z) - 1.0;
        (low, high)
    }

    fn unconditional(self, tolerance: f64, tail: Tail) -> f64 {
        let n = self.documents;
        let observed = self.score(tolerance);
        let discordant = self.lost + self.won;
        // Clopper and Pearson's interval of the share of discordant pairs.
        let low = if discordant == 0 { 0.0 } else { solve(|p| binomial_at_least(discordant, n, p), MISSED / 2.0) };
        let high =
            if discordant == n { 1.0 } else { solve(|p| 1.0 - binomial_at_most(discordant, n, p), 1.0 - MISSED / 2.0) };
        let (low, high) = (low.max(tolerance), high.max(tolerance));
        let mut limits: Vec<Option<u64>> = vec![None; n as usize + 1];
        let mut greatest: f64 = 0.0;
        for step in 0..SHARES {
            let share = low + (high - low) * step as f64 / (SHARES - 1) as f64;
            greatest = greatest.max(self.tail(tolerance, share, observed, tail, &mut limits));
        }
        (greatest + MISSED).min(1.0)
    }

    /// Probability of outcomes at least as extreme as the observed one, when the drop is `tolerance`
    /// and `share` of the pairs are discordant.
    fn tail(self, tolerance: f64, share: f64, observed: f64, tail: Tail, limits: &mut [Option<u64>]) -> f64 {
        let n = self.documents;
        let (mean, deviation) = (n as f64 * share, (n as f64 * share * (1.0 - share)).sqrt());
        let first = (mean - 7.0 * deviation - 3.0).max(0.0) as u64;
        let last = ((mean + 7.0 * deviation + 3.0) as u64).min(n);
        let lost_share = if share > 0.0 { ((share + tolerance) / (2.0 * share)).min(1.0) } else { 0.5 };
        let (mut sum, mut mass) = (0.0, 0.0);
        for discordant in first..=last {
            let weight = ln_binomial(discordant, n, share).exp();
            mass += weight;
            let Some(slot) = limits.get_mut(discordant as usize) else { continue };
            let limit = *slot.get_or_insert_with(|| self.limit(tolerance, observed, discordant, tail));
            sum += weight
                * match (tail, limit.checked_sub(1)) {
                    (Tail::Upper, _) => binomial_at_least(limit, discordant, lost_share),
                    (Tail::Lower, None) => 0.0,
                    (Tail::Lower, Some(most)) => binomial_at_most(most, discordant, lost_share),
                };
        }
        // What lies outside of the summed range counts as extreme.
        sum + (1.0 - mass).max(0.0)
    }

    /// Among `discordant` pairs, the least number lost that is at least as extreme as the observed
    /// statistic (upper tail), or one more than the greatest (lower tail); the statistic rises with
    /// the number lost.
    fn limit(self, tolerance: f64, observed: f64, discordant: u64, tail: Tail) -> u64 {
        let slack = 1e-9 * observed.abs().max(1.0);
        let at = |lost: u64| Self { lost, won: discordant - lost, documents: self.documents }.score(tolerance);
        let (mut low, mut high) = (0, discordant + 1);
        while low < high {
            let middle = u64::midpoint(low, high);
            let below = match tail {
                Tail::Upper => middle <= discordant && at(middle) < observed - slack,
                Tail::Lower => middle <= discordant && at(middle) <= observed + slack,
            };
            if below { low = middle + 1 } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn pairs(lost: u64, won: u64, documents: u64) -> Discordant {
        Discordant { lost, won, documents }
    }

    /// `scipy.stats.binomtest(min, lost + won).pvalue`.
    #[test]
    fn mcnemar_is_the_binomial_test() {
        for (lost, won, p) in [(14, 6, 0.115_318_298), (0, 0, 1.0), (1, 9, 0.021_484_375), (30, 30, 1.0)] {
            assert!((pairs(lost, won, 500).mcnemar() - p).abs() < 1e-8, "{lost} {won}");
        }
        // Far in the tail, where a plain sum would underflow: 2 * 0.5^2000.
        assert!(pairs(2_000, 0, 5_000).mcnemar() < 1e-300);
    }

    /// The exact p-value against all outcomes of a small sample added up one by one.
    #[test]
    fn the_unconditional_test_is_the_sum_over_all_outcomes() {
        let (n, tolerance) = (30, 0.1);
        for observed in [pairs(8, 1, n), pairs(3, 3, n), pairs(0, 0, n), pairs(5, 0, n)] {
            let mut greatest: f64 = 0.0;
            for step in 0..=400 {
                let share = tolerance + (1.0 - tolerance) * f64::from(step) / 400.0;
                let (p, q) = (f64::midpoint(share, tolerance), (share - tolerance) / 2.0);
                let mut sum = 0.0;
                for lost in 0..=n {
                    for won in 0..=n - lost {
                        if pairs(lost, won, n).score(tolerance) >= observed.score(tolerance) - 1e-9 {
                            let discordant = lost + won;
                            sum +=
                                (ln_binomial(discordant, n, p + q) + ln_binomial(lost, discordant, p / (p + q))).exp();
                        }
                    }
                }
                greatest = greatest.max(sum);
            }
            let found = observed.p_drop_is_more(tolerance);
            // The search is over a confidence interval, so it may end lower, but never much.
            assert!(found <= greatest + 2e-5 && found > 0.5 * greatest, "{observed:?}: {found}, {greatest}");
        }
    }

    /// Tango's example (1998): 43 pairs of 44 agree or so; 14 lost of 50 against 0 won are not "less
    /// than a drop of 0.1", and his interval of the two examples of his table.
    #[test]
    fn score_bounds_contain_the_drop_and_invert_the_score() {
        for observed in [pairs(12, 3, 100), pairs(0, 0, 60), pairs(1, 0, 44), pairs(40, 55, 1_000)] {
            let (low, high) = observed.bounds(0.9);
            assert!(low <= observed.drop() && observed.drop() <= high, "{observed:?}: {low} {high}");
            for bound in [low, high] {
                let z = observed.score(bound).abs();
                assert!((z - 1.644_853_6).abs() < 1e-4, "{observed:?}: {bound} has score {z}");
            }
        }
    }

    /// The promise of the gate: at the edge of the tolerance a false alarm, or a false pass, has
    /// probability at most alpha. Added up over all outcomes, so without sampling error.
    #[test]
    fn the_level_holds_at_the_edge_of_the_tolerance() {
        let (n, alpha, tolerance) = (60_u64, 0.05, 0.05);
        for share in [0.05, 0.08, 0.2, 0.5] {
            let (p, q) = (f64::midpoint(share, tolerance), (share - tolerance) / 2.0);
            let (mut alarm, mut pass) = (0.0, 0.0);
            for lost in 0..=n {
                for won in 0..=n - lost {
                    let discordant = lost + won;
                    let weight = (ln_binomial(discordant, n, p + q) + ln_binomial(lost, discordant, p / (p + q))).exp();
                    if weight < 1e-7 {
                        continue;
                    }
                    let outcome = pairs(lost, won, n);
                    if outcome.drop() > tolerance {
                        alarm += if outcome.p_drop_is_more(tolerance) <= alpha { weight } else { 0.0 };
                    } else {
                        pass += if outcome.p_drop_is_less(tolerance) <= alpha { weight } else { 0.0 };
                    }
                }
            }
            assert!(alarm <= alpha && pass <= alpha, "share {share}: false alarm {alarm}, false pass {pass}");
        }
    }
}
