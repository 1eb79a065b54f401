//! Standard errors and confidence intervals of scores.
//!
//! Means have the closed form (sample standard deviation over the square root of n), and 0-or-1
//! means Wilson's interval. Everything else is bootstrapped from counts: the standard error is the
//! standard deviation of the resampled scores, the interval is bias-corrected and accelerated (BCa;
//! Efron, "Better bootstrap confidence intervals", 1987). The number of resamples is part of the result.

use serde::Serialize;

use crate::eval::metrics::Tally;
use crate::eval::metrics::statistic::Cell;
use crate::stats::distribution::{normal_cdf, normal_quantile};
use crate::stats::resample::{Resampling, default_draws, replicates};

/// The level of reported intervals.
pub(crate) const LEVEL: f64 = 0.95;

/// A range that covers the true score in `level` of all samples of documents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// Two-sided level.
    pub level: f64,
    /// `wilson`, `bca` or `normal`.
    pub method: &'static str,
    /// Resamples; 0 for closed forms.
    pub draws: usize,
}

/// A score and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// The score.
    pub value: f64,
    /// `None` for fewer than two documents.
    pub standard_error: Option<f64>,
    /// `None` for fewer than two documents.
    pub interval: Option<Interval>,
}

/// The score of a task's documents. `stream` names what is resampled, so that every metric of a run
/// draws its own numbers.
#[must_use]
pub(crate) fn estimate(tally: &Tally, resampling: Resampling, stream: &[&str]) -> Estimate {
    let value = tally.value();
    if tally.documents() < 2 || !value.is_finite() {
        return Estimate { value, standard_error: None, interval: None };
    }
    if tally.statistic.is_mean() {
        let standard_error = mean_stderr(tally);
        if let Some(interval) = wilson(tally) {
            return Estimate { value, standard_error: Some(standard_error), interval: Some(interval) };
        }
        let (_, interval) = bootstrap(tally, resampling, stream);
        return Estimate { value, standard_error: Some(standard_error), interval: Some(interval) };
    }
    let (standard_error, interval) = bootstrap(tally, resampling, stream);
    Estimate { value, standard_error: Some(standard_error), interval: Some(interval) }
}

/// Sample standard deviation over the square root of the number of documents.
fn mean_stderr(tally: &Tally) -> f64 {
    let (n, mean) = (tally.documents() as f64, tally.value());
    let squares = tally.cells.iter().zip(&tally.counts).map(|(cell, &count)| match cell {
        Cell::Number(x) => (x - mean).powi(2) * count as f64,
        _ => 0.0,
    });
    (squares.sum::<f64>() / (n - 1.0)).sqrt() / n.sqrt()
}

/// Wilson's score interval, for means of zeros and ones only.
fn wilson(tally: &Tally) -> Option<Interval> {
    let binary = tally.cells.iter().all(|cell| matches!(cell, Cell::Number(x) if *x == 0.0 || *x == 1.0));
    let (n, p, z) = (tally.documents() as f64, tally.value(), normal_quantile(f64::midpoint(1.0, LEVEL)));
    let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / (1.0 + z * z / n);
    let (low, high) = ((centre - half).max(0.0), (centre + half).min(1.0));
    binary.then_some(Interval { low, high, level: LEVEL, method: "wilson", draws: 0 })
}

fn bootstrap(tally: &Tally, resampling: Resampling, stream: &[&str]) -> (f64, Interval) {
    let draws = default_draws(tally.cells.len());
    let statistic = |counts: &[u64]| tally.statistic.of(&tally.classes, &tally.cells, counts);
    let values = replicates(&[&tally.counts], draws, resampling, stream, |drawn| {
        drawn.first().map_or(f64::NAN, |counts| statistic(counts))
    });
    let resampled = Resampled::new(tally.value(), values, jackknife(&[&tally.counts], |c| statistic(&c[0])));
    let (low, high) = (resampled.bound((1.0 - LEVEL) / 2.0), resampled.bound(f64::midpoint(1.0, LEVEL)));
    (resampled.standard_error(), Interval { low, high, level: LEVEL, method: "bca", draws: resampled.draws() })
}

/// The acceleration of BCa: skewness of the scores with one document left out, from counts.
///
/// Strata are jackknifed one after the other, as their documents are independent.
pub(crate) fn jackknife(strata: &[&[u64]], statistic: impl Fn(&[Vec<u64>]) -> f64) -> f64 {
    let mut counts: Vec<Vec<u64>> = strata.iter().map(|counts| counts.to_vec()).collect();
    let (mut cubes, mut squares) = (0.0, 0.0);
    for stratum in 0..strata.len() {
        let mut left_out = Vec::new();
        let n: u64 = strata[stratum].iter().sum();
        for cell in 0..strata[stratum].len() {
            if counts[stratum][cell] > 0 {
                counts[stratum][cell] -= 1;
                left_out.push((statistic(&counts), strata[stratum][cell] as f64));
                counts[stratum][cell] += 1;
            }
        }
        let n = n as f64;
        let mean = left_out.iter().map(|(value, weight)| value * weight).sum::<f64>() / n;
        for (value, weight) in left_out {
            // Influences add up over strata when each is scaled by its stratum's size.
            let influence = (n - 1.0) * (mean - value) / n;
            cubes += weight * influence.powi(3);
            squares += weight * influence.powi(2);
        }
    }
    let acceleration = cubes / (6.0 * squares.powf(1.5));
    if acceleration.is_finite() { acceleration } else { 0.0 }
}

/// Resampled values of a statistic, sorted, with what BCa needs.
#[derive(Debug, Clone)]
pub struct Resampled {
    values: Vec<f64>,
    bias: f64,
    acceleration: f64,
}

impl Resampled {
    /// From the statistic of the documents, resampled values and the jackknife's acceleration. Values
    /// that are not finite (a resample in which the statistic is not defined) are left out.
    #[must_use]
    pub fn new(value: f64, mut values: Vec<f64>, acceleration: f64) -> Self {
        values.retain(|x| x.is_finite());
        values.sort_by(f64::total_cmp);
        let mut resampled = Self { values, bias: 0.0, acceleration };
        // A share of 0 or 1 has no finite quantile; the statistic then sits at an end of its range.
        let share = resampled.share_below(value);
        resampled.bias = normal_quantile(share.clamp(1e-3, 1.0 - 1e-3));
        resampled
    }

    /// Resamples that count.
    #[must_use]
    pub fn draws(&self) -> usize {
        self.values.len()
    }

    /// Share of values below `x`; equal ones count half.
    fn share_below(&self, x: f64) -> f64 {
        // Sums in another order differ in the last bits: near equal is equal.
        let slack = 1e-12 * x.abs().max(1e-6);
        let below = self.values.partition_point(|v| *v < x - slack);
        let not_above = self.values.partition_point(|v| *v <= x + slack);
        (below + not_above) as f64 / 2.0 / self.values.len().max(1) as f64
    }

    /// Standard deviation of the values.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        let n = self.values.len() as f64;
        if n < 2.0 {
            return 0.0;
        }
        let mean = self.values.iter().sum::<f64>() / n;
        (self.values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
    }

    /// The one-sided BCa bound below which the statistic lies with probability `level`.
    #[must_use]
    pub fn bound(&self, level: f64) -> f64 {
        let z = self.bias + normal_quantile(level);
        let share = normal_cdf(self.bias + z / (1.0 - self.acceleration * z));
        let last = self.values.len().saturating_sub(1);
        let place = share * last as f64;
        let below = (place.floor() as usize).min(last);
        let (Some(low), Some(high)) = (self.values.get(below), self.values.get((below + 1).min(last))) else {
            return f64::NAN;
        };
        low + (high - low) * (place - below as f64)
    }

    /// The level at which the BCa bound would be `x`: small when the statistic is shown to be
    /// greater than `x`. Never less than one resample's worth.
    #[must_use]
    pub fn level_of(&self, x: f64) -> f64 {
        let least = 1.0 / (self.values.len() as f64 + 1.0);
        let share = self.share_below(x).clamp(least, 1.0 - least);
        let y = normal_quantile(share) - self.bias;
        normal_cdf(y / (1.0 + self.acceleration * y) - self.bias).clamp(least, 1.0 - least)
    }
}

/// A part of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Part {
    /// The task's score.
    pub value: f64,
    /// `None` for fewer than two documents.
    pub standard_error: Option<f64>,
    /// Number of documents.
    pub documents: u64,
}

/// The mean of tasks, weighted by their documents or plain, with the standard error of exactly that
/// mean: tasks are independent, so it is the root of the sum of squared weighted errors. (The
/// harness pools variances as if the tasks had one mean, and until 0.4.13 did so for plain means
/// too.)
#[must_use]
pub(crate) fn group(parts: &[Part], weight_by_size: bool) -> Option<Part> {
    let documents: u64 = parts.iter().map(|part| part.documents).sum();
    if parts.is_empty() || documents == 0 {
        return None;
    }
    let weight = |part: &Part| {
        if weight_by_size { part.documents as f64 / documents as f64 } else { 1.0 / parts.len() as f64 }
    };
    let value = parts.iter().map(|part| weight(part) * part.value).sum();
    let squares: Option<Vec<f64>> = parts
        .iter()
        .map(|part| part.standard_error.map(|standard_error| (weight(part) * standard_error).powi(2)))
        .collect();
    Some(Part { value, standard_error: squares.map(|list| list.iter().sum::<f64>().sqrt()), documents })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::{DocumentValue, Statistic};

    fn labels(list: &[(i32, i32, u64)]) -> Vec<DocumentValue> {
        let one = |&(gold, predicted, count): &(i32, i32, u64)| {
            (0..count).map(move |_| DocumentValue::Labels { gold, predicted })
        };
        list.iter().flat_map(one).collect()
    }

    #[test]
    fn means_have_the_closed_form_and_wilsons_interval() {
        let values: Vec<_> = (0..50).map(|i| DocumentValue::Number(f64::from(u8::from(i < 40)))).collect();
        let estimate = estimate(&Tally::new(Statistic::Mean, &values), Resampling::seeded(0), &[]);
        assert!((estimate.standard_error.unwrap() - (0.8_f64 * 0.2 / 49.0).sqrt()).abs() < 1e-12);
        let interval = estimate.interval.unwrap();
        // Wilson's interval of 40 of 50 by hand: (0.838415 -+ 0.117342) / 1.076829.
        assert!((interval.low - 0.669_629).abs() < 1e-5 && (interval.high - 0.887_562).abs() < 1e-5, "{interval:?}");
    }

    /// The bootstrap of a mean must find the closed form, and its interval the normal one.
    #[test]
    fn resampled_counts_find_the_known_error_of_a_mean() {
        let values: Vec<_> = (0..400).map(|i| DocumentValue::Number(f64::from(i % 7))).collect();
        let tally = Tally::new(Statistic::Mean, &values);
        let (standard_error, interval) = bootstrap(&tally, Resampling::seeded(1), &["t"]);
        let closed = mean_stderr(&tally);
        assert!((standard_error / closed - 1.0).abs() < 0.01, "{standard_error} for {closed}");
        assert!((interval.low - (tally.value() - 1.96 * closed)).abs() < 0.05 * closed, "{interval:?}");
        assert_eq!(interval.draws, 100_000);
    }

    /// Micro F1 with all labels in gold and no missing answers is accuracy.
    #[test]
    fn corpus_metrics_get_the_error_of_the_mean_they_equal() {
        let values = labels(&[(0, 0, 60), (0, 1, 20), (1, 1, 90), (1, 0, 30)]);
        let tally = Tally::new(Statistic::F1Micro, &values);
        let estimate = estimate(&tally, Resampling::seeded(3), &["f1"]);
        assert!((estimate.value - 0.75).abs() < 1e-12);
        let expected = (0.75_f64 * 0.25 / 200.0).sqrt();
        assert!((estimate.standard_error.unwrap() / expected - 1.0).abs() < 0.02);
        assert_eq!(
            estimate,
            super::estimate(&tally, Resampling::seeded(3), &["f1"]),
            "the same seed gives the same numbers"
        );
    }

    #[test]
    fn group_errors_belong_to_the_mean_that_is_reported() {
        let part = |value, standard_error, documents| Part { value, standard_error: Some(standard_error), documents };
        let parts = [part(0.8, 0.03, 300), part(0.5, 0.05, 100)];
        let weighted = group(&parts, true).unwrap();
        assert!((weighted.value - 0.725).abs() < 1e-12);
        assert!((weighted.standard_error.unwrap() - (0.0225_f64.powi(2) + 0.0125_f64.powi(2)).sqrt()).abs() < 1e-12);
        let plain = group(&parts, false).unwrap();
        assert!((plain.value - 0.65).abs() < 1e-12);
        assert!((plain.standard_error.unwrap() - 0.5 * (0.03_f64.powi(2) + 0.05_f64.powi(2)).sqrt()).abs() < 1e-12);
    }
}
