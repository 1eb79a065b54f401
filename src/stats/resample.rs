//! Drawing counts: a bootstrap resample of documents is a multinomial draw of the counts of their
//! distinct values, so that its cost depends on the number of distinct values and not on the
//! number of documents.
//!
//! Draws are a pure function of seed, stream names and resample number, whatever the threads do.

use crate::parallel::Workers;

use super::distribution::ln_gamma;
use crate::rng::{Philox, stream_key};

/// Resamples drawn from one stream; the next ones start another.
const CHUNK: usize = 500;

/// Uniform numbers of one stream in order.
#[derive(Debug, Clone)]
pub struct Draws {
    stream: Philox,
    counter: u64,
    words: [u32; 4],
    next: usize,
}

impl Draws {
    /// The stream named by `seed` and `parts`.
    #[must_use]
    pub fn new(seed: u64, parts: &[&str]) -> Self {
        Self { stream: Philox::new(stream_key(seed, parts)), counter: 0, words: [0; 4], next: 4 }
    }

    /// A number in `[0, 1)` of 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        if self.next >= 4 {
            self.words = self.stream.block(self.counter);
            self.counter += 1;
            self.next = 0;
        }
        let bits = (u64::from(self.words[self.next]) << 32) | u64::from(self.words[self.next + 1]);
        self.next += 2;
        (bits >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number of successes in `n` trials of probability `p`.
    ///
    /// Inversion where few are expected, else Hörmann's transformed rejection BTRS ("The generation
    /// of binomial random variates", 1993). Both are exact.
    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if n == 0 || p <= 0.0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        if n as f64 * p < 10.0 { self.inversion(n, p) } else { self.rejection(n, p) }
    }

    fn inversion(&mut self, n: u64, p: f64) -> u64 {
        let odds = p / (1.0 - p);
        let start = (n as f64 * (-p).ln_1p()).exp();
        loop {
            let (mut left, mut term) = (self.uniform(), start);
            for k in 0..=n {
                if left < term {
                    return k;
                }
                left -= term;
                term *= odds * (n - k) as f64 / (k + 1) as f64;
                // Far beyond the mean the terms vanish before the rounding of `left` does: draw again.
                if term < 1e-18 && k as f64 > n as f64 * p {
                    break;
                }
            }
        }
    }

    fn rejection(&mut self, n: u64, p: f64) -> u64 {
        let trials = n as f64;
        let deviation = (trials * p * (1.0 - p)).sqrt();
        let b = 1.15 + 2.53 * deviation;
        let a = -0.0873 + 0.0248 * b + 0.01 * p;
        let centre = trials * p + 0.5;
        let quick = 0.92 - 4.2 / b;
        let ln_odds = (p / (1.0 - p)).ln();
        let alpha = (2.83 + 5.1 / b) * deviation;
        let mode = ((trials + 1.0) * p).floor();
        let ln_mode = ln_gamma(mode + 1.0) + ln_gamma(trials - mode + 1.0);
        loop {
            let u = self.uniform() - 0.5;
            let v = self.uniform();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + centre).floor();
            if us >= 0.07 && v <= quick {
                return k as u64;
            }
            if k < 0.0 || k > trials {
                continue;
            }
            let v = (v * alpha / (a / (us * us) + b)).ln();
            if v <= ln_mode - ln_gamma(k + 1.0) - ln_gamma(trials - k + 1.0) + (k - mode) * ln_odds {
                return k as u64;
            }
        }
    }

    /// Distributes `sum(counts)` trials over the cells with probabilities proportional to `counts`.
    pub fn multinomial(&mut self, counts: &[u64], drawn: &mut [u64]) {
        let mut trials: u64 = counts.iter().sum();
        let mut rest = trials;
        for (count, drawn) in counts.iter().zip(drawn.iter_mut()) {
            *drawn = if *count == rest { trials } else { self.binomial(trials, *count as f64 / rest as f64) };
            trials -= *drawn;
            rest -= count;
        }
    }
}

/// Seed of a bootstrap, which the values depend on, and the threads that compute them, which they don't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resampling {
    /// Seed of the draws.
    pub seed: u64,
    /// Threads for the resamples.
    pub workers: Workers,
}

impl Resampling {
    /// On the calling thread alone.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, workers: Workers::default() }
    }
}

/// `draws` values of `statistic` over resampled `strata`, in a fixed order.
///
/// Each stratum is a list of counts that keeps its own total; `statistic` gets the resampled counts
/// of all strata in the same shape.
pub(crate) fn replicates(
    strata: &[&[u64]],
    draws: usize,
    resampling: Resampling,
    stream: &[&str],
    statistic: impl Fn(&[Vec<u64>]) -> f64 + Sync,
) -> Vec<f64> {
    let chunks = draws.div_ceil(CHUNK);
    let chunk = |index: usize| {
        let number = index.to_string();
        let parts: Vec<&str> = stream.iter().copied().chain([number.as_str()]).collect();
        let mut source = Draws::new(resampling.seed, &parts);
        let mut drawn: Vec<Vec<u64>> = strata.iter().map(|counts| vec![0; counts.len()]).collect();
        let size = CHUNK.min(draws - index * CHUNK);
        (0..size)
            .map(|_| {
                for (counts, drawn) in strata.iter().zip(&mut drawn) {
                    source.multinomial(counts, drawn);
                }
                statistic(&drawn)
            })
            .collect::<Vec<f64>>()
    };
    resampling.workers.map(chunks, chunk).concat()
}

/// Number of resamples of a statistic with so many distinct values: 100,000 where that is cheap.
#[must_use]
pub(crate) fn default_draws(cells: usize) -> usize {
    (2_000_000 / cells.max(1)).clamp(2_000, 100_000)
}

#[cfg(test)]
mod tests {
    use super::super::distribution::ln_binomial;
    use super::*;

    /// Chi-square against the exact probabilities, on both sides of the switch between methods.
    #[test]
    fn binomial_draws_have_the_binomial_distribution() {
        for (n, p) in [(20, 0.1), (200, 0.04), (200, 0.06), (400, 0.3), (1_000, 0.83), (100_000, 0.5)] {
            let mut draws = Draws::new(7, &["binomial", &n.to_string(), &p.to_string()]);
            let total = 100_000;
            let mut seen = std::collections::BTreeMap::new();
            for _ in 0..total {
                *seen.entry(draws.binomial(n, p)).or_insert(0_u64) += 1;
            }
            let (mut square, mut cells) = (0.0, 0.0);
            for k in 0..=n {
                let expected = ln_binomial(k, n, p).exp() * f64::from(total);
                if expected >= 5.0 {
                    let found = seen.get(&k).copied().unwrap_or(0) as f64;
                    square += (found - expected).powi(2) / expected;
                    cells += 1.0;
                }
            }
            let bound: f64 = cells + 5.0 * (2.0_f64 * cells).sqrt();
            assert!(square < bound, "n {n}, p {p}: chi-square {square} over {cells} cells");
        }
    }

    #[test]
    fn resamples_do_not_depend_on_threads() {
        let counts = [40_u64, 7, 3];
        let run = |threads| {
            let resampling = Resampling { seed: 1, workers: Workers::new(threads) };
            replicates(&[&counts], 3_000, resampling, &["t"], |drawn| drawn[0][0] as f64)
        };
        let one = run(1);
        assert_eq!(one, run(3));
        assert_eq!(one.len(), 3_000);
        let mean = one.iter().sum::<f64>() / 3_000.0;
        assert!((mean - 40.0).abs() < 0.3, "{mean}");
    }
}
