//! Root mean square normalisation.

use std::mem::MaybeUninit;

use super::fresh::{again, fresh};
use super::simd::{LANES, Level, Simd, Task};

/// RMS norm (Zhang and Sennrich 2019) of rows of `weight.len()`: `x / sqrt(mean(x^2) + eps) * (offset + weight)`.
///
/// `offset` is 0, or 1 where the weights are stored around zero, as Gemma's are. The squares of a row are
/// summed in 64 interleaved chains that are then added in a fixed order.
///
/// # Panics
/// When `x` and `out` differ in length or are no whole rows.
pub fn rms_norm(x: &[f32], weight: &[f32], offset: f32, eps: f32, out: &mut [f32]) {
    rms_norm_at(Level::detected(), x, weight, offset, eps, out);
}

/// [`rms_norm`] in a vector of its own.
///
/// # Panics
/// When `x` is no whole rows.
#[must_use]
pub fn rms_norm_to_vec(x: &[f32], weight: &[f32], offset: f32, eps: f32) -> Vec<f32> {
    if weight.is_empty() {
        return vec![0.0; x.len()];
    }
    // SAFETY: every element is written: there are weights, and `x` is checked to be whole rows.
    unsafe { fresh(x.len(), |out| write_norm(Level::detected(), x, weight, offset, eps, out)) }
}

pub(super) fn rms_norm_at(level: Level, x: &[f32], weight: &[f32], offset: f32, eps: f32, out: &mut [f32]) {
    write_norm(level, x, weight, offset, eps, again(out));
}

/// Writes all of `out` where there are weights.
fn write_norm(level: Level, x: &[f32], weight: &[f32], offset: f32, eps: f32, out: &mut [MaybeUninit<f32>]) {
    assert_eq!(x.len(), out.len(), "a result for each element");
    if weight.is_empty() {
        return;
    }
    assert_eq!(x.len() % weight.len(), 0, "whole rows");
    level.run(Norm { x, weight, offset, eps, out });
}

struct Norm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    offset: f32,
    eps: f32,
    out: &'a mut [MaybeUninit<f32>],
}

/// Chains of the sum, in vectors.
const CHAINS: usize = 4;

impl Task for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.weight.len();
        for (x, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            let mean = sum_of_squares(simd, x) / width as f32;
            let inverse = 1.0 / (mean + self.eps).sqrt();
            for ((o, x), weight) in out.iter_mut().zip(x).zip(self.weight) {
                o.write(x * inverse * (self.offset + weight));
            }
        }
    }
}

#[inline(always)]
fn sum_of_squares<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mut sums = [simd.splat(0.0); CHAINS];
    let (groups, tail) = x.as_chunks::<LANES>();
    let (rounds, rest) = groups.as_chunks::<CHAINS>();
    for round in rounds {
        for (sum, group) in sums.iter_mut().zip(round) {
            let v = simd.load(group);
            *sum = simd.fma(v, v, *sum);
        }
    }
    for (sum, group) in sums.iter_mut().zip(rest) {
        let v = simd.load(group);
        *sum = simd.fma(v, v, *sum);
    }
    if !tail.is_empty() {
        let v = simd.load_partial(tail, 0.0);
        let sum = &mut sums[rest.len()];
        *sum = simd.fma(v, v, *sum);
    }
    let [a, b, c, d] = sums;
    simd.sum(simd.add(simd.add(a, b), simd.add(c, d)))
}
