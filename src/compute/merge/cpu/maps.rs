//! Loop bodies of the maps, generic over the compute type.

use super::float::{Aligned, BLOCK, Float, load, store};
use super::random;
use crate::compute::merge::{Coefficient, Operand, Output, Selection, TaskVectors, WeightedSum};

/// Multiplies by a factor; see [`crate::compute::merge::MergeKernels::scale`].
#[inline(always)]
pub(crate) fn scale<F: Float>(input: Operand<'_>, factor: f64, output: Output<'_>) {
    let factor = F::from_f64(factor);
    let mut x = Aligned::<F>::new();
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

/// Computes a [`WeightedSum`] block by block in the first-level cache.
#[inline(always)]
pub(crate) fn weighted_sum<F: Float>(job: &WeightedSum<'_>, output: Output<'_>) {
    let length = job.inputs.first().map_or(0, Operand::len);
    let divisor = job.divisor.map(F::from_f64);
    let mut x = Aligned::<F>::new();
    let mut sum = Aligned::<F>::new();
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        let (x, sum) = (&mut x.0[..n], &mut sum.0[..n]);
        sum.fill(F::default());
        for (input, coefficient) in job.inputs.iter().zip(job.coefficients) {
            load(input, start, x);
            match coefficient {
                Coefficient::Uniform(c) => {
                    let c = F::from_f64(*c);
                    for (s, x) in sum.iter_mut().zip(&*x) {
                        *s = x.fused(c, *s);
                    }
                }
                Coefficient::PerElement(cs) => {
                    for ((s, x), c) in sum.iter_mut().zip(&*x).zip(&cs[start..start + n]) {
                        *s = x.fused(F::from_f64(*c), *s);
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

/// Computes [`TaskVectors`] block by block in the first-level cache.
#[inline(always)]
pub(crate) fn task_vectors<F: Float>(job: &TaskVectors<'_>, output: Output<'_>) {
    let length = job.base.len();
    let scale = F::from_f64(job.scale);
    let divisor = job.divisor.map(F::from_f64);
    let mut base = Aligned::<F>::new();
    let mut delta = Aligned::<F>::new();
    let mut mix = Aligned::<F>::new();
    let mut words = Aligned::<u32>::new();
    // Weighted task vectors of a block, one block per input; only the election needs them.
    let mut weighted = vec![Aligned::<F>::new(); if job.consensus { job.inputs.len() } else { 0 }];
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        let base = &mut base.0[..n];
        let mix = &mut mix.0[..n];
        load(&job.base, start, base);
        mix.fill(F::default());
        let first = job.first_element + start as u64;
        for (i, input) in job.inputs.iter().enumerate() {
            // The election needs every model's weighted task vector; a plain sum only one at a time.
            let delta = if job.consensus { &mut weighted[i] } else { &mut delta };
            let delta = &mut delta.0[..n];
            if job.selections[i] == Selection::Nothing {
                delta.fill(F::default());
                continue;
            }
            load(input, start, delta);
            let mask = job.masks.get(i).copied().flatten().map(|mask| (mask, start));
            let block = Block { selection: job.selections[i], mask, first, base, words: &mut words.0 };
            match job.coefficients[i] {
                Coefficient::Uniform(c) => add_weighted(block, F::from_f64(c), delta, mix),
                Coefficient::PerElement(cs) => add_weighted_each(block, &cs[start..start + n], delta, mix),
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

/// Inputs of a block of a task vector.
struct Block<'a, F> {
    selection: Selection,
    /// Mask drawn before, for a random selection, and the block's start in it.
    mask: Option<(&'a [u64], usize)>,
    /// Flat index of the block's first element.
    first: u64,
    base: &'a [F],
    words: &'a mut [u32; BLOCK],
}

/// Replaces a model's values by its weighted, selected task vector and adds it to `mix`.
#[inline(always)]
fn add_weighted<F: Float>(block: Block<'_, F>, weight: F, values: &mut [F], mix: &mut [F]) {
    let Block { selection, mask, first, base, words } = block;
    match selection {
        Selection::All | Selection::Nothing => add(KeepAll, F::from_f64(1.0), weight, base, values, mix),
        Selection::Magnitude { threshold, ties_before, rescale } => {
            let (threshold, rescale) = (F::key_from(threshold), F::from_f64(rescale));
            let ties = ties_before.saturating_sub(first).min(values.len() as u64) as usize;
            let (values, values_after) = values.split_at_mut(ties);
            let (mix, mix_after) = mix.split_at_mut(ties);
            add(KeepAtLeast(threshold), rescale, weight, &base[..ties], values, mix);
            add(KeepAbove(threshold), rescale, weight, &base[ties..], values_after, mix_after);
        }
        Selection::Random { stream, keep_below, rescale } => {
            let rescale = F::from_f64(rescale);
            match mask {
                Some((mask, start)) => random::spread(&mask[start / 64..], words),
                None => random::spread(&random::draw(stream, keep_below, first, values.len()), words),
            }
            add(KeepRandom(words), rescale, weight, base, values, mix);
        }
    }
}

#[inline(always)]
fn add<F: Float>(keep: impl Keep<F>, rescale: F, weight: F, base: &[F], values: &mut [F], mix: &mut [F]) {
    for (i, ((value, base), mix)) in values.iter_mut().zip(base).zip(mix).enumerate() {
        let delta = value.minus(*base);
        *value = keep.apply(i, delta, delta.times(rescale)).times(weight);
        *mix = mix.plus(*value);
    }
}

/// [`add_weighted`] with a weight for each element.
#[inline(always)]
fn add_weighted_each<F: Float>(block: Block<'_, F>, weights: &[f64], values: &mut [F], mix: &mut [F]) {
    for (value, base) in values.iter_mut().zip(block.base) {
        *value = value.minus(*base);
    }
    select(block.selection, block.first, values, block.words);
    for ((value, weight), mix) in values.iter_mut().zip(weights).zip(mix) {
        *value = value.times(F::from_f64(*weight));
        *mix = mix.plus(*value);
    }
}

/// Zeroes what a selection drops and rescales the rest.
#[inline(always)]
pub(crate) fn select<F: Float>(selection: Selection, first: u64, delta: &mut [F], words: &mut [u32; BLOCK]) {
    match selection {
        Selection::All => {}
        Selection::Nothing => delta.fill(F::default()),
        Selection::Magnitude { threshold, ties_before, rescale } => {
            let (threshold, rescale) = (F::key_from(threshold), F::from_f64(rescale));
            let ties = ties_before.saturating_sub(first).min(delta.len() as u64) as usize;
            let (before, after) = delta.split_at_mut(ties);
            keep_only(KeepAtLeast(threshold), rescale, before);
            keep_only(KeepAbove(threshold), rescale, after);
        }
        Selection::Random { stream, keep_below, rescale } => {
            random::spread(&random::draw(stream, keep_below, first, delta.len()), words);
            keep_only(KeepRandom(words), F::from_f64(rescale), delta);
        }
    }
}

#[inline(always)]
pub(crate) fn keep_only<F: Float>(keep: impl Keep<F>, rescale: F, delta: &mut [F]) {
    for (i, d) in delta.iter_mut().enumerate() {
        *d = keep.apply(i, *d, d.times(rescale));
    }
}

/// Selection of elements of a block. A trait with inlined methods, since a closure is a function of its own, which would
/// be compiled for the baseline instruction set.
pub(crate) trait Keep<F: Float> {
    /// Whether element `i` of the block, `delta`, is kept.
    fn keeps(&self, i: usize, delta: F) -> bool;

    /// Returns `kept` or zero. NaN is always kept: a broken element must show in the output.
    #[inline(always)]
    fn apply(&self, i: usize, delta: F, kept: F) -> F {
        if self.keeps(i, delta) | delta.is_nan() { kept } else { F::default() }
    }
}

/// All elements.
struct KeepAll;
/// Magnitude keys of at least a threshold.
struct KeepAtLeast<K>(K);
/// Magnitude keys above a threshold.
struct KeepAbove<K>(K);

impl<F: Float> Keep<F> for KeepAll {
    #[inline(always)]
    fn keeps(&self, _i: usize, _delta: F) -> bool {
        true
    }
}

impl<F: Float> Keep<F> for KeepAtLeast<F::Key> {
    #[inline(always)]
    fn keeps(&self, _i: usize, delta: F) -> bool {
        delta.key() >= self.0
    }
}

impl<F: Float> Keep<F> for KeepAbove<F::Key> {
    #[inline(always)]
    fn keeps(&self, _i: usize, delta: F) -> bool {
        delta.key() > self.0
    }
}

/// Elements with a non-zero word of [`random::spread`].
pub(crate) struct KeepRandom<'a>(pub &'a [u32; BLOCK]);

impl<F: Float> Keep<F> for KeepRandom<'_> {
    #[inline(always)]
    fn keeps(&self, i: usize, _delta: F) -> bool {
        self.0[i] != 0
    }
}

/// Replaces the plain sums in `mix` by the sums over the elected sign.
#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "a NaN sum elects the negative side, as in the reference")]
fn elect<F: Float>(job: &TaskVectors<'_>, start: usize, weighted: &[Aligned<F>], mix: &mut [F]) {
    let zero = F::default();
    let one = F::from_f64(1.0);
    let n = mix.len();
    let mut elected = Aligned::<F>::new();
    let mut divisor = Aligned::<F>::new();
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
                    let c = F::from_f64(*c);
                    for ((w, s), u) in divisor.iter_mut().zip(&*elected).zip(weighted) {
                        let agrees = ((*s >= zero) & (*u > zero)) | (!(*s >= zero) & (*u < zero));
                        *w = w.plus(if agrees { c } else { zero });
                    }
                }
                Coefficient::PerElement(cs) => {
                    for (((w, s), u), c) in divisor.iter_mut().zip(&*elected).zip(weighted).zip(&cs[start..]) {
                        let agrees = ((*s >= zero) & (*u > zero)) | (!(*s >= zero) & (*u < zero));
                        *w = w.plus(if agrees { F::from_f64(*c) } else { zero });
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
