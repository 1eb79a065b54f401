//! Root mean square normalisation.

use std::mem::MaybeUninit;

use super::uninit::{as_uninit, vec_written_by};
use crate::compute::simd::{LANES, Level, Simd, Task};

/// RMS norm (Zhang and Sennrich 2019) of rows of `weight.len()`: `x / sqrt(mean(x^2) + eps) * (offset + weight)`.
///
/// `offset` is 0, or 1 where the weights are stored around zero, as Gemma's are. The squares of a row are
/// summed in 64 interleaved FMA loops (4 vectors of 16 lanes), which are then added in a fixed order.
///
/// # Panics
/// When `x` and `out` differ in length or are no whole rows.
pub fn rms_norm(x: &[f32], weight: &[f32], offset: f32, eps: f32, out: &mut [f32]) {
    rms_norm_at(Level::detected(), x, weight, offset, eps, out);
}

/// [`rms_norm`] into a new vector.
///
/// # Panics
/// When `x` is no whole rows.
#[must_use]
pub(crate) fn rms_norm_to_vec(x: &[f32], weight: &[f32], offset: f32, eps: f32) -> Vec<f32> {
    if weight.is_empty() {
        return vec![0.0; x.len()];
    }
    // SAFETY: `write_norm` checks that `x` is whole rows of at least one element, and writes each.
    unsafe { vec_written_by(x.len(), |out| write_norm(Level::detected(), x, weight, offset, eps, out)) }
}

pub(crate) fn rms_norm_at(level: Level, x: &[f32], weight: &[f32], offset: f32, eps: f32, out: &mut [f32]) {
    write_norm(level, x, weight, offset, eps, as_uninit(out));
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

/// Interleaved sums, in vectors: the FMA latency times the throughput of most CPUs.
const SUMS: usize = 4;

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

/// Sums squares in 64 interleaved FMA loops, then by halves.
#[inline(always)]
pub(super) fn sum_of_squares<S: Simd>(simd: S, x: &[f32]) -> f32 {
    dot(simd, x, x)
}

/// Dot product of two rows of one length, in the same order.
#[inline(always)]
pub(super) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [simd.splat(0.0); SUMS];
    let (a_groups, a_tail) = a.as_chunks::<LANES>();
    let (b_groups, b_tail) = b.as_chunks::<LANES>();
    let (a_rounds, a_rest) = a_groups.as_chunks::<SUMS>();
    let (b_rounds, b_rest) = b_groups.as_chunks::<SUMS>();
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
