//! The two maps, as loop bodies generic over the working type.

use super::float::{Aligned, BLOCK, Float, load, store};
use super::random;
use crate::backend::{Coefficient, DRAW_GROUP, Operand, Output, Selection, TaskVectors, WeightedSum};

/// See [`crate::backend::Backend::scale`].
#[inline(always)]
pub fn scale<W: Float>(input: Operand<'_>, factor: f64, output: &mut Output<'_>) {
    let factor = W::from_f64(factor);
    let mut x = Aligned::<W>::new();
    let mut start = 0;
    while start < input.len() {
        let n = BLOCK.min(input.len() - start);
        load(&input, start, &mut x.0[..n]);
        for x in &mut x.0[..n] {
            *x = x.times(factor);
        }
        store(&x.0[..n], output.dtype, start, output.bytes);
        start += n;
    }
}

/// See [`WeightedSum`].
#[inline(always)]
pub fn weighted_sum<W: Float>(job: &WeightedSum<'_>, output: &mut Output<'_>) {
    let length = job.inputs.first().map_or(0, Operand::len);
    let divisor = job.divisor.map(W::from_f64);
    let mut x = Aligned::<W>::new();
    let mut sum = Aligned::<W>::new();
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        let (x, sum) = (&mut x.0[..n], &mut sum.0[..n]);
        sum.fill(W::default());
        for (input, coefficient) in job.inputs.iter().zip(job.coefficients) {
            load(input, start, x);
            match coefficient {
                Coefficient::Uniform(c) => {
                    let c = W::from_f64(*c);
                    for (s, x) in sum.iter_mut().zip(&*x) {
                        *s = x.fused(c, *s);
                    }
                }
                Coefficient::PerElement(cs) => {
                    for ((s, x), c) in sum.iter_mut().zip(&*x).zip(&cs[start..start + n]) {
                        *s = x.fused(W::from_f64(*c), *s);
                    }
                }
            }
        }
        if let Some(divisor) = divisor {
            for s in sum.iter_mut() {
                *s = s.over(divisor);
            }
        }
        store(sum, output.dtype, start, output.bytes);
        start += n;
    }
}

/// See [`TaskVectors`].
#[inline(always)]
pub fn task_vectors<W: Float>(job: &TaskVectors<'_>, output: &mut Output<'_>) {
    let length = job.base.len();
    let scale = W::from_f64(job.scale);
    let divisor = job.divisor.map(W::from_f64);
    let mut base = Aligned::<W>::new();
    let mut delta = Aligned::<W>::new();
    let mut mix = Aligned::<W>::new();
    let mut words = Aligned::<u32>::new();
    // Weighted task vectors of a block, one block per input; only the election needs them.
    let mut weighted = vec![Aligned::<W>::new(); if job.consensus { job.inputs.len() } else { 0 }];
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        let base = &mut base.0[..n];
        let delta = &mut delta.0[..n];
        let mix = &mut mix.0[..n];
        load(&job.base, start, base);
        mix.fill(W::default());
        let first = job.first_element + start as u64;
        for (i, input) in job.inputs.iter().enumerate() {
            let selection = job.selections[i];
            if selection == Selection::Nothing {
                if job.consensus {
                    weighted[i].0[..n].fill(W::default());
                }
                continue;
            }
            load(input, start, delta);
            for (d, b) in delta.iter_mut().zip(&*base) {
                *d = d.minus(*b);
            }
            select(selection, first, delta, &mut words.0);
            multiply(&job.coefficients[i], start, delta);
            for (m, d) in mix.iter_mut().zip(&*delta) {
                *m = m.plus(*d);
            }
            if job.consensus {
                weighted[i].0[..n].copy_from_slice(delta);
            }
        }
        if job.consensus {
            elect(job, start, &weighted, mix);
        } else if let Some(divisor) = divisor {
            for m in mix.iter_mut() {
                *m = m.over(divisor);
            }
        }
        for (m, b) in mix.iter_mut().zip(&*base) {
            *m = b.plus(m.times(scale));
        }
        store(mix, output.dtype, start, output.bytes);
        start += n;
    }
}

/// Zeroes what a selection drops and rescales the rest. NaN always stays: a broken element must
/// show in the output.
#[inline(always)]
pub fn select<W: Float>(selection: Selection, first: u64, delta: &mut [W], words: &mut [u32; BLOCK]) {
    let zero = W::default();
    match selection {
        Selection::All => {}
        Selection::Nothing => delta.fill(zero),
        Selection::Magnitude { threshold, ties_before, rescale } => {
            let threshold = W::key_from(threshold);
            let rescale = W::from_f64(rescale);
            let ties = ties_before.saturating_sub(first).min(delta.len() as u64) as usize;
            let (before, after) = delta.split_at_mut(ties);
            for d in before {
                let keep = (d.key() >= threshold) | d.is_nan();
                *d = if keep { d.times(rescale) } else { zero };
            }
            for d in after {
                let keep = (d.key() > threshold) | d.is_nan();
                *d = if keep { d.times(rescale) } else { zero };
            }
        }
        Selection::Random { stream, keep_below, rescale } => {
            let rescale = W::from_f64(rescale);
            let (upper, lower) = ((keep_below >> 16) as u32, keep_below as u32 & 0xffff);
            let words = &mut words[..delta.len().next_multiple_of(DRAW_GROUP as usize)];
            random::fill(stream, first, words);
            let mut undecided = false;
            for word in &*words {
                undecided |= *word == upper;
            }
            if undecided & (lower > 0) {
                random::settle(stream, first, upper, lower, words);
            }
            for (d, word) in delta.iter_mut().zip(&*words) {
                let keep = (*word < upper) | d.is_nan();
                *d = if keep { d.times(rescale) } else { zero };
            }
        }
    }
}

#[inline(always)]
fn multiply<W: Float>(coefficient: &Coefficient<'_>, start: usize, delta: &mut [W]) {
    match coefficient {
        Coefficient::Uniform(c) => {
            let c = W::from_f64(*c);
            for d in delta {
                *d = d.times(c);
            }
        }
        Coefficient::PerElement(cs) => {
            for (d, c) in delta.iter_mut().zip(&cs[start..]) {
                *d = d.times(W::from_f64(*c));
            }
        }
    }
}

/// Replaces the plain sums in `mix` by the sums over the elected sign.
#[inline(always)]
fn elect<W: Float>(job: &TaskVectors<'_>, start: usize, weighted: &[Aligned<W>], mix: &mut [W]) {
    let zero = W::default();
    let one = W::from_f64(1.0);
    let n = mix.len();
    let mut elected = Aligned::<W>::new();
    let mut divisor = Aligned::<W>::new();
    let elected = &mut elected.0[..n];
    let divisor = &mut divisor.0[..n];
    elected.copy_from_slice(mix);
    mix.fill(zero);
    for (i, coefficient) in job.coefficients.iter().enumerate() {
        let weighted = &weighted[i].0[..n];
        for ((m, s), u) in mix.iter_mut().zip(&*elected).zip(weighted) {
            let agrees = ((*s >= zero) & (*u > zero)) | (!(*s >= zero) & (*u < zero));
            *m = m.plus(if agrees | u.is_nan() { *u } else { zero });
        }
        if job.normalize {
            match coefficient {
                Coefficient::Uniform(c) => {
                    let c = W::from_f64(*c);
                    for ((w, s), u) in divisor.iter_mut().zip(&*elected).zip(weighted) {
                        let agrees = ((*s >= zero) & (*u > zero)) | (!(*s >= zero) & (*u < zero));
                        *w = w.plus(if agrees { c } else { zero });
                    }
                }
                Coefficient::PerElement(cs) => {
                    for (((w, s), u), c) in divisor.iter_mut().zip(&*elected).zip(weighted).zip(&cs[start..]) {
                        let agrees = ((*s >= zero) & (*u > zero)) | (!(*s >= zero) & (*u < zero));
                        *w = w.plus(if agrees { W::from_f64(*c) } else { zero });
                    }
                }
            }
        }
    }
    if job.normalize {
        for (m, w) in mix.iter_mut().zip(&*divisor) {
            let w = if *w == zero { one } else { *w };
            *m = m.over(w);
        }
    }
}
