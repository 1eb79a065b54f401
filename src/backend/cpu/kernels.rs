//! The two maps, as loop bodies generic over the working type.

use super::float::{BLOCK, Float, load, store};
use super::random;
use crate::backend::{Coefficient, Operand, Output, Selection, TaskVectors, WeightedSum};

/// See [`crate::backend::Backend::scale`].
#[inline(always)]
pub fn scale<W: Float>(input: Operand<'_>, factor: f64, output: &mut Output<'_>) {
    let factor = W::from_f64(factor);
    let mut x = [W::default(); BLOCK];
    let mut start = 0;
    while start < input.len() {
        let n = BLOCK.min(input.len() - start);
        load(&input, start, &mut x[..n]);
        for x in &mut x[..n] {
            *x = x.times(factor);
        }
        store(&x[..n], output.dtype, start, output.bytes);
        start += n;
    }
}

/// See [`WeightedSum`].
#[inline(always)]
pub fn weighted_sum<W: Float>(job: &WeightedSum<'_>, output: &mut Output<'_>) {
    let length = job.inputs.first().map_or(0, Operand::len);
    let divisor = job.divisor.map(W::from_f64);
    let mut x = [W::default(); BLOCK];
    let mut sum = [W::default(); BLOCK];
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        let (x, sum) = (&mut x[..n], &mut sum[..n]);
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
    let mut base = [W::default(); BLOCK];
    let mut delta = [W::default(); BLOCK];
    let mut mix = [W::default(); BLOCK];
    let mut words = [0_u32; BLOCK];
    // Weighted task vectors of a block, one run of BLOCK per input; only the election needs them.
    let mut weighted = vec![W::default(); if job.consensus { job.inputs.len() * BLOCK } else { 0 }];
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        let base = &mut base[..n];
        let delta = &mut delta[..n];
        let mix = &mut mix[..n];
        load(&job.base, start, base);
        mix.fill(W::default());
        let first = job.first_element + start as u64;
        for (i, input) in job.inputs.iter().enumerate() {
            let selection = job.selections[i];
            if selection == Selection::Nothing {
                if job.consensus {
                    weighted[i * BLOCK..i * BLOCK + n].fill(W::default());
                }
                continue;
            }
            load(input, start, delta);
            for (d, b) in delta.iter_mut().zip(&*base) {
                *d = d.minus(*b);
            }
            select(selection, first, delta, &mut words);
            multiply(&job.coefficients[i], start, delta);
            for (m, d) in mix.iter_mut().zip(&*delta) {
                *m = m.plus(*d);
            }
            if job.consensus {
                weighted[i * BLOCK..i * BLOCK + n].copy_from_slice(delta);
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
                let keep = d.key() >= threshold || d.is_nan();
                *d = if keep { d.times(rescale) } else { zero };
            }
            for d in after {
                let keep = d.key() > threshold || d.is_nan();
                *d = if keep { d.times(rescale) } else { zero };
            }
        }
        Selection::Random { stream, keep_below, rescale } => {
            if keep_below == 0 {
                for d in delta {
                    *d = if d.is_nan() { *d } else { zero };
                }
                return;
            }
            let rescale = W::from_f64(rescale);
            let last = (keep_below - 1).min(u64::from(u32::MAX)) as u32;
            random::fill(stream, first, &mut words[..delta.len().next_multiple_of(64)]);
            for (d, word) in delta.iter_mut().zip(&*words) {
                let keep = *word <= last || d.is_nan();
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
fn elect<W: Float>(job: &TaskVectors<'_>, start: usize, weighted: &[W], mix: &mut [W]) {
    let zero = W::default();
    let one = W::from_f64(1.0);
    let n = mix.len();
    let mut elected = [W::default(); BLOCK];
    let mut divisor = [W::default(); BLOCK];
    let elected = &mut elected[..n];
    let divisor = &mut divisor[..n];
    elected.copy_from_slice(mix);
    mix.fill(zero);
    for (i, coefficient) in job.coefficients.iter().enumerate() {
        let weighted = &weighted[i * BLOCK..i * BLOCK + n];
        for ((m, s), u) in mix.iter_mut().zip(&*elected).zip(weighted) {
            let agrees = if *s >= zero { *u > zero } else { *u < zero };
            *m = m.plus(if agrees || u.is_nan() { *u } else { zero });
        }
        if job.normalize {
            match coefficient {
                Coefficient::Uniform(c) => {
                    let c = W::from_f64(*c);
                    for ((w, s), u) in divisor.iter_mut().zip(&*elected).zip(weighted) {
                        let agrees = if *s >= zero { *u > zero } else { *u < zero };
                        *w = w.plus(if agrees { c } else { zero });
                    }
                }
                Coefficient::PerElement(cs) => {
                    for (((w, s), u), c) in divisor.iter_mut().zip(&*elected).zip(weighted).zip(&cs[start..]) {
                        let agrees = if *s >= zero { *u > zero } else { *u < zero };
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
