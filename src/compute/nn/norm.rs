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
pub(crate) fn rms_norm_to_vec(x: &[f32], weight: &[f32], offset: f32, eps: f32) -> Vec<f32> {
    if weight.is_empty() {
        return vec![0.0; x.len()];
    }
    // SAFETY: every element is written: there are weights, and `x` is checked to be whole rows.
    unsafe { fresh(x.len(), |out| write_norm(Level::detected(), x, weight, offset, eps, out)) }
}

pub(crate) fn rms_norm_at(level: Level, x: &[f32], weight: &[f32], offset: f32, eps: f32, out: &mut [f32]) {
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

/// In 64 interleaved chains, then by halves.
#[inline(always)]
pub(super) fn sum_of_squares<S: Simd>(simd: S, x: &[f32]) -> f32 {
    dot(simd, x, x)
}

/// The sum of products of two rows of one length, in the same order.
#[inline(always)]
pub(super) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [simd.splat(0.0); CHAINS];
    let (a_groups, a_tail) = a.as_chunks::<LANES>();
    let (b_groups, b_tail) = b.as_chunks::<LANES>();
    let (a_rounds, a_rest) = a_groups.as_chunks::<CHAINS>();
    let (b_rounds, b_rest) = b_groups.as_chunks::<CHAINS>();
    for (a, b) in a_rounds.iter().zip(b_rounds) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = simd.fma(simd.load(a), simd.load(b), *sum);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = simd.fma(simd.load(a), simd.load(b), *sum);
    }
    if !a_tail.is_empty() {
        let sum = &mut sums[a_rest.len()];
        *sum = simd.fma(simd.load_partial(a_tail, 0.0), simd.load_partial(b_tail, 0.0), *sum);
    }
    let [a, b, c, d] = sums;
    simd.sum(simd.add(simd.add(a, b), simd.add(c, d)))
}
