//! Log-probability of one token.

use super::elementary::exp;
use crate::compute::simd::{Group, LANES, Level, Simd, Task};

/// Log-probability of `token` under the softmax of one row of logits, and whether it is the greedy choice, the
/// first of equals.
///
/// The exponentials are summed in f32 over short stretches and those in f64, so that the error does
/// not grow with the vocabulary. NaN and false for a token outside the row or a row that holds a NaN.
#[must_use]
pub fn log_softmax_at(logits: &[f32], token: u32) -> (f64, bool) {
    log_softmax_at_level(Level::detected(), logits, token)
}

pub(crate) fn log_softmax_at_level(level: Level, logits: &[f32], token: u32) -> (f64, bool) {
    let Some(&logit) = logits.get(token as usize) else { return (f64::NAN, false) };
    let (max, sum) = level.run(Partition { logits });
    if sum.is_nan() {
        return (f64::NAN, false);
    }
    let log_probability = f64::from(logit) - f64::from(max) - ln(sum);
    let greedy = logit == max && logits[..token as usize].iter().all(|other| *other != max);
    (log_probability, greedy)
}

struct Partition<'a> {
    logits: &'a [f32],
}

/// Vectors that are summed in f32.
const STRETCH: usize = 16;

impl Task for Partition<'_> {
    /// The greatest logit, and the sum of e^(logit - greatest).
    type Output = (f32, f64);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f64) {
        let (groups, tail) = self.logits.as_chunks::<LANES>();
        let tail = simd.load_partial(tail, f32::NEG_INFINITY);
        let max = greatest(simd, groups, tail);
        let top = simd.splat(max);
        let mut sums = [0.0_f64; LANES];
        let mut stretch = exp(simd, simd.sub(tail, top));
        for groups in groups.chunks(STRETCH) {
            for group in groups {
                stretch = simd.add(stretch, exp(simd, simd.sub(simd.load(group), top)));
            }
            add(simd, stretch, &mut sums);
            stretch = simd.splat(0.0);
        }
        add(simd, stretch, &mut sums);
        (max, sums.iter().sum())
    }
}

/// The greatest of a row's whole vectors and its last one, which was filled up with minus infinity.
#[inline(always)]
pub(super) fn greatest<S: Simd>(simd: S, groups: &[Group], tail: S::V) -> f32 {
    let mut max = [tail; 4];
    let (rounds, rest) = groups.as_chunks::<4>();
    for round in rounds {
        for (max, group) in max.iter_mut().zip(round) {
            *max = simd.max(*max, simd.load(group));
        }
    }
    for (max, group) in max.iter_mut().zip(rest) {
        *max = simd.max(*max, simd.load(group));
    }
    let [a, b, c, d] = max;
    simd.greatest(simd.max(simd.max(a, b), simd.max(c, d)))
}

#[inline(always)]
fn add<S: Simd>(simd: S, v: S::V, sums: &mut [f64; LANES]) {
    let mut group = [0.0; LANES];
    simd.store(v, &mut group);
    for (sum, value) in sums.iter_mut().zip(group) {
        *sum += f64::from(value);
    }
}

/// The natural logarithm, of our own since the libraries' differ in the last bit: with m in
/// [sqrt 1/2, sqrt 2), ln(m 2^e) = e ln 2 + 2 artanh((m - 1) / (m + 1)).
pub(super) fn ln(x: f64) -> f64 {
    if !(x.is_normal() && x > 0.0) {
        return if x == 0.0 { f64::NEG_INFINITY } else { x };
    }
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    // The first power left out adds less than 2^-58.
    let series = (1..=11).rev().fold(0.0, |sum, i| sum * square + 1.0 / f64::from(2 * i + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * (s + s * square * series)
}
