//! The two maps, as loop bodies generic over the working type.

use super::float::{Aligned, BLOCK, Float, load, store};
use super::random;
use crate::compute::merge::{Coefficient, Operand, Output, Selection, TaskVectors, WeightedSum};

/// See [`crate::compute::merge::Backend::scale`].
#[inline(always)]
pub(crate) fn scale<W: Float>(input: Operand<'_>, factor: f64, output: &mut Output<'_>) {
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
pub(crate) fn weighted_sum<W: Float>(job: &WeightedSum<'_>, output: &mut Output<'_>) {
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
pub(crate) fn task_vectors<W: Float>(job: &TaskVectors<'_>, output: &mut Output<'_>) {
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
        let mix = &mut mix.0[..n];
        load(&job.base, start, base);
        mix.fill(W::default());
        let first = job.first_element + start as u64;
        for (i, input) in job.inputs.iter().enumerate() {
            // The election needs every model's weighted task vector; a plain sum only one at a time.
            let delta = if job.consensus { &mut weighted[i] } else { &mut delta };
            let delta = &mut delta.0[..n];
            if job.selections[i] == Selection::Nothing {
                delta.fill(W::default());
                continue;
            }
            load(input, start, delta);
            let mask = job.masks.get(i).copied().flatten().map(|mask| (mask, start));
            let block = Block { selection: job.selections[i], mask, first, base, words: &mut words.0 };
            match job.coefficients[i] {
                Coefficient::Uniform(c) => add_weighted(block, W::from_f64(c), delta, mix),
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

/// What a block of a task vector is made with.
struct Block<'a, W> {
    selection: Selection,
    /// What was drawn before, for a random selection, and where in it the block is.
    mask: Option<(&'a [u64], usize)>,
    /// Flat index of the block's first element.
    first: u64,
    base: &'a [W],
    words: &'a mut [u32; BLOCK],
}

/// Turns a model's values into its weighted, selected task vector and adds it to `mix`.
#[inline(always)]
fn add_weighted<W: Float>(block: Block<'_, W>, weight: W, values: &mut [W], mix: &mut [W]) {
    let Block { selection, mask, first, base, words } = block;
    match selection {
        Selection::All | Selection::Nothing => add(Everything, W::from_f64(1.0), weight, base, values, mix),
        Selection::Magnitude { threshold, ties_before, rescale } => {
            let (threshold, rescale) = (W::key_from(threshold), W::from_f64(rescale));
            let ties = ties_before.saturating_sub(first).min(values.len() as u64) as usize;
            let (values, values_after) = values.split_at_mut(ties);
            let (mix, mix_after) = mix.split_at_mut(ties);
            add(AtLeast(threshold), rescale, weight, &base[..ties], values, mix);
            add(Above(threshold), rescale, weight, &base[ties..], values_after, mix_after);
        }
        Selection::Random { stream, keep_below, rescale } => {
            let rescale = W::from_f64(rescale);
            match mask {
                Some((mask, start)) => random::spread(&mask[start / 64..], words),
                None => random::spread(&random::draw(stream, keep_below, first, values.len()), words),
            }
            add(Drawn(words), rescale, weight, base, values, mix);
        }
    }
}

#[inline(always)]
fn add<W: Float>(keep: impl Keep<W>, rescale: W, weight: W, base: &[W], values: &mut [W], mix: &mut [W]) {
    for (i, ((value, base), mix)) in values.iter_mut().zip(base).zip(mix).enumerate() {
        let delta = value.minus(*base);
        *value = keep.apply(i, delta, delta.times(rescale)).times(weight);
        *mix = mix.plus(*value);
    }
}

/// The same with a weight for each element.
#[inline(always)]
fn add_weighted_each<W: Float>(block: Block<'_, W>, weights: &[f64], values: &mut [W], mix: &mut [W]) {
    for (value, base) in values.iter_mut().zip(block.base) {
        *value = value.minus(*base);
    }
    select(block.selection, block.first, values, block.words);
    for ((value, weight), mix) in values.iter_mut().zip(weights).zip(mix) {
        *value = value.times(W::from_f64(*weight));
        *mix = mix.plus(*value);
    }
}

/// Zeroes what a selection drops and rescales the rest.
#[inline(always)]
pub(crate) fn select<W: Float>(selection: Selection, first: u64, delta: &mut [W], words: &mut [u32; BLOCK]) {
    match selection {
        Selection::All => {}
        Selection::Nothing => delta.fill(W::default()),
        Selection::Magnitude { threshold, ties_before, rescale } => {
            let (threshold, rescale) = (W::key_from(threshold), W::from_f64(rescale));
            let ties = ties_before.saturating_sub(first).min(delta.len() as u64) as usize;
            let (before, after) = delta.split_at_mut(ties);
            keep_only(AtLeast(threshold), rescale, before);
            keep_only(Above(threshold), rescale, after);
        }
        Selection::Random { stream, keep_below, rescale } => {
            random::spread(&random::draw(stream, keep_below, first, delta.len()), words);
            keep_only(Drawn(words), W::from_f64(rescale), delta);
        }
    }
}

#[inline(always)]
pub(crate) fn keep_only<W: Float>(keep: impl Keep<W>, rescale: W, delta: &mut [W]) {
    for (i, d) in delta.iter_mut().enumerate() {
        *d = keep.apply(i, *d, d.times(rescale));
    }
}

/// Which elements of a block stay. A trait with inlined methods, not a closure: see
/// [`super::statistics`].
pub(crate) trait Keep<W: Float> {
    /// Whether element `i` of the block, `delta`, stays.
    fn keeps(&self, i: usize, delta: W) -> bool;

    /// `kept` or zero. NaN always stays: a broken element must show in the output.
    #[inline(always)]
    fn apply(&self, i: usize, delta: W, kept: W) -> W {
        if self.keeps(i, delta) | delta.is_nan() { kept } else { W::default() }
    }
}

struct Everything;
struct AtLeast<K>(K);
struct Above<K>(K);

impl<W: Float> Keep<W> for Everything {
    #[inline(always)]
    fn keeps(&self, _i: usize, _delta: W) -> bool {
        true
    }
}

impl<W: Float> Keep<W> for AtLeast<W::Key> {
    #[inline(always)]
    fn keeps(&self, _i: usize, delta: W) -> bool {
        delta.key() >= self.0
    }
}

impl<W: Float> Keep<W> for Above<W::Key> {
    #[inline(always)]
    fn keeps(&self, _i: usize, delta: W) -> bool {
        delta.key() > self.0
    }
}

/// What [`random::spread`] made.
pub(crate) struct Drawn<'a>(pub &'a [u32; BLOCK]);

impl<W: Float> Keep<W> for Drawn<'_> {
    #[inline(always)]
    fn keeps(&self, i: usize, _delta: W) -> bool {
        self.0[i] != 0
    }
}

/// Replaces the plain sums in `mix` by the sums over the elected sign.
#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "a NaN sum elects the negative side, as in the reference")]
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
