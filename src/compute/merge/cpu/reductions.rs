//! Loop bodies of the reductions, generic over the compute type.

use super::float::{Aligned, BLOCK, Float, load, sift};
use super::maps::{KeepRandom, keep_only, select};
use super::random;
use crate::compute::merge::sum::{SUM_LANES, fold_lanes};
use crate::compute::merge::{Bracket, Delta, DeltaSummary, Digit, Operand, Selection};
use crate::dtype::DType;

/// Reads a task vector block by block. A struct and not a function taking a closure: a closure is
/// a function of its own, which the compiler would build once, for the plainest instruction set.
struct Blocks<'a, F> {
    delta: &'a Delta<'a>,
    base: Aligned<F>,
    tuned: Aligned<F>,
    start: usize,
    next: usize,
}

impl<'a, F: Float> Blocks<'a, F> {
    #[inline(always)]
    fn new(delta: &'a Delta<'a>) -> Self {
        Self { delta, base: Aligned::new(), tuned: Aligned::new(), start: 0, next: 0 }
    }

    /// The next block; `self.start` is then the index of its first element.
    #[inline(always)]
    fn next(&mut self) -> Option<&mut [F]> {
        self.start = self.next;
        let n = BLOCK.min(self.delta.tuned.len() - self.start);
        if n == 0 {
            return None;
        }
        self.next += n;
        load_delta(self.delta, self.start, &mut self.base.0[..n], &mut self.tuned.0[..n]);
        Some(&mut self.tuned.0[..n])
    }
}

/// Reads elements of a task vector; `base` is scratch for the base's.
#[inline(always)]
fn load_delta<F: Float>(delta: &Delta<'_>, start: usize, base: &mut [F], out: &mut [F]) {
    load(&delta.tuned, start, out);
    if let Some(operand) = &delta.base {
        load(operand, start, base);
        for (t, b) in out.iter_mut().zip(&*base) {
            *t = t.minus(*b);
        }
    }
}

/// Adds `a * b` to lanes; a block starts at a multiple of [`SUM_LANES`], so lane and index agree.
#[inline(always)]
fn accumulate<F: Float>(lanes: &mut [f64; SUM_LANES], a: &[F], b: &[F]) {
    let (a16, a_rest) = a.as_chunks::<SUM_LANES>();
    let (b16, b_rest) = b.as_chunks::<SUM_LANES>();
    for (a, b) in a16.iter().zip(b16) {
        for lane in 0..SUM_LANES {
            lanes[lane] += a[lane].to_f64() * b[lane].to_f64();
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += a.to_f64() * b.to_f64();
    }
}

/// Sum of the magnitudes of at most [`crate::compute::merge::sum::SUM_RUN`] values, by lanes in the compute
/// type.
#[inline(always)]
fn sum_of_magnitudes<F: Float>(values: &[F]) -> f64 {
    let mut lanes = [F::default(); SUM_LANES];
    let (full, rest) = values.as_chunks::<SUM_LANES>();
    for values in full {
        for lane in 0..SUM_LANES {
            lanes[lane] = lanes[lane].plus(values[lane].magnitude());
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = lane.plus(value.magnitude());
    }
    let mut wide = [0.0; SUM_LANES];
    for (wide, lane) in wide.iter_mut().zip(lanes) {
        *wide = lane.to_f64();
    }
    fold_lanes(wide)
}

/// Reads the same block of several task vectors.
#[inline(always)]
fn load_all<F: Float>(vectors: &[Delta<'_>], start: usize, n: usize, base: &mut Aligned<F>, all: &mut [Aligned<F>]) {
    for (vector, out) in vectors.iter().zip(all) {
        load_delta(vector, start, &mut base.0[..n], &mut out.0[..n]);
    }
}

#[inline(always)]
pub(crate) fn products<F: Float>(vectors: &[Delta<'_>], sums: &mut [f64]) {
    let pairs = vectors.len() * (vectors.len() + 1) / 2;
    let mut lanes = vec![[0.0; SUM_LANES]; pairs];
    let mut all = vec![Aligned::<F>::new(); vectors.len()];
    let mut base = Aligned::<F>::new();
    let length = vectors.first().map_or(0, |v| v.tuned.len());
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        load_all(vectors, start, n, &mut base, &mut all);
        let mut pair = 0;
        for i in 0..vectors.len() {
            for j in i..vectors.len() {
                accumulate(&mut lanes[pair], &all[i].0[..n], &all[j].0[..n]);
                pair += 1;
            }
        }
        start += n;
    }
    for (sum, lanes) in sums.iter_mut().zip(lanes) {
        *sum += fold_lanes(lanes);
    }
}

#[inline(always)]
pub(crate) fn column_products<F: Float>(vectors: &[Delta<'_>], sums: &mut [f64]) {
    let pairs = vectors.len() * (vectors.len() + 1) / 2;
    let mut all = vec![Aligned::<F>::new(); vectors.len()];
    let mut base = Aligned::<F>::new();
    let length = vectors.first().map_or(0, |v| v.tuned.len());
    let mut start = 0;
    while start < length {
        let n = BLOCK.min(length - start);
        load_all(vectors, start, n, &mut base, &mut all);
        let mut pair = 0;
        for i in 0..vectors.len() {
            for j in i..vectors.len() {
                for e in 0..n {
                    let product = all[i].0[e].to_f64() * all[j].0[e].to_f64();
                    sums[(start + e) * pairs + pair] += product;
                }
                pair += 1;
            }
        }
        start += n;
    }
}

#[inline(always)]
pub(crate) fn magnitude_bracket<F: Float>(delta: Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> u64 {
    let (low, high) = (F::key_from(bracket.low), F::key_from(bracket.high));
    let mut above = 0_u64;
    let mut blocks = Blocks::<F>::new(&delta);
    let mut keys = Aligned::<F::Key>::new();
    let mut found = Aligned::<u32>::new();
    while let Some(values) = blocks.next() {
        for (key, value) in keys.0.iter_mut().zip(&*values) {
            *key = value.key();
        }
        let (over, count) = sift(&keys.0[..values.len()], low, high, &mut found.0);
        above += over as u64;
        inside.extend_from_slice(&found.0[..count]);
    }
    above
}

#[inline(always)]
pub(crate) fn magnitude_histogram<F: Float>(delta: Delta<'_>, digit: Digit, counts: &mut [u64]) {
    let mask = (1_u64 << digit.bits) - 1;
    let above = digit.shift + digit.bits;
    let mut blocks = Blocks::<F>::new(&delta);
    while let Some(values) = blocks.next() {
        for value in values {
            let key: u64 = value.key().into();
            if key.checked_shr(above).unwrap_or(0) == digit.prefix {
                counts[((key >> digit.shift) & mask) as usize] += 1;
            }
        }
    }
}

#[inline(always)]
pub(crate) fn magnitude_positions<F: Float>(delta: Delta<'_>, key: u64, limit: usize) -> Vec<usize> {
    let key = F::key_from(key);
    let mut positions = Vec::new();
    let mut blocks = Blocks::<F>::new(&delta);
    while let Some(values) = blocks.next() {
        let here: Vec<usize> = (0..values.len()).filter(|&i| values[i].key() == key).collect();
        positions.extend(here.into_iter().map(|i| blocks.start + i));
        if positions.len() >= limit {
            positions.truncate(limit);
            break;
        }
    }
    positions
}

#[inline(always)]
pub(crate) fn magnitude_counts<F: Float>(delta: Delta<'_>, key: u64) -> (u64, u64) {
    let key = F::key_from(key);
    let (mut above, mut equal) = (0, 0);
    let mut blocks = Blocks::<F>::new(&delta);
    while let Some(values) = blocks.next() {
        let (mut over, mut same) = (0_u32, 0_u32);
        for value in values {
            over += u32::from(value.key() > key);
            same += u32::from(value.key() == key);
        }
        above += u64::from(over);
        equal += u64::from(same);
    }
    (above, equal)
}

#[inline(always)]
pub(crate) fn magnitude_sample<F: Float>(delta: Delta<'_>, run: usize, stride: usize, keys: &mut Vec<u32>) {
    let mut base = Aligned::<F>::new();
    let mut tuned = Aligned::<F>::new();
    let mut start = 0;
    while start < delta.tuned.len() {
        let n = run.min(BLOCK).min(delta.tuned.len() - start);
        load_delta(&delta, start, &mut base.0[..n], &mut tuned.0[..n]);
        let first = keys.len();
        keys.resize(first + n, 0);
        for (key, value) in keys[first..].iter_mut().zip(&tuned.0[..n]) {
            let wide: u64 = value.key().into();
            *key = wide as u32;
        }
        start += stride;
    }
}

#[inline(always)]
pub(crate) fn magnitude_sums<F: Float>(
    delta: Delta<'_>,
    selection: Selection,
    first_element: u64,
    mut mask: Option<&mut [u64]>,
) -> (f64, f64) {
    let mut words = Aligned::<u32>::new();
    let (mut all, mut kept) = (0.0, 0.0);
    let mut blocks = Blocks::<F>::new(&delta);
    let one = F::from_f64(1.0);
    while let Some(values) = blocks.next() {
        all += sum_of_magnitudes(values);
        let first = first_element + blocks.start as u64;
        let (start, end) = (blocks.start, blocks.next);
        let values = &mut blocks.tuned.0[..end - start];
        match (selection, &mut mask) {
            (Selection::Random { stream, keep_below, .. }, Some(mask)) => {
                let bits = random::draw(stream, keep_below, first, values.len());
                mask[start / 64..end.div_ceil(64)].copy_from_slice(&bits[..values.len().div_ceil(64)]);
                random::spread(&bits, &mut words.0);
                keep_only(KeepRandom(&words.0), one, values);
            }
            _ => select(selection.rescaled(1.0), first, values, &mut words.0),
        }
        kept += sum_of_magnitudes(values);
    }
    (all, kept)
}

/// An exponent of all ones is an infinity or a NaN.
#[inline(always)]
pub(crate) fn non_finite(values: Operand<'_>) -> u64 {
    let narrow = |exponent: u16| {
        let mut count = 0_u64;
        for block in values.bytes.chunks(BLOCK * 2) {
            let here: u32 =
                block.as_chunks::<2>().0.iter().map(|b| u32::from(u16::from_le_bytes(*b) & exponent == exponent)).sum();
            count += u64::from(here);
        }
        count
    };
    match values.dtype {
        DType::BF16 => narrow(0x7f80),
        DType::F16 => narrow(0x7c00),
        DType::F32 => {
            let words = values.bytes.as_chunks::<4>().0;
            words.iter().map(|b| u64::from(u32::from_le_bytes(*b) & 0x7f80_0000 == 0x7f80_0000)).sum()
        }
        _ => {
            let words = values.bytes.as_chunks::<8>().0;
            words.iter().map(|b| u64::from(!f64::from_le_bytes(*b).is_finite())).sum()
        }
    }
}

#[inline(always)]
pub(crate) fn delta_summary<F: Float>(base: Operand<'_>, tuned: &[Operand<'_>]) -> DeltaSummary {
    let precision = crate::compute::merge::ComputeType::F32;
    let vectors: Vec<Delta<'_>> = tuned.iter().map(|t| Delta { base: Some(base), tuned: *t, precision }).collect();
    let models = tuned.len();
    let mut result = DeltaSummary {
        products: vec![0.0; models * (models + 1) / 2],
        zeros: vec![0; models],
        largest: vec![0.0; models],
        ..DeltaSummary::default()
    };
    let mut base_lanes = [0.0; SUM_LANES];
    let mut lanes = vec![[0.0; SUM_LANES]; result.products.len()];
    let mut all = vec![Aligned::<F>::new(); models];
    let mut block = Aligned::<F>::new();
    let mut start = 0;
    while start < base.len() {
        let n = BLOCK.min(base.len() - start);
        load(&base, start, &mut block.0[..n]);
        accumulate(&mut base_lanes, &block.0[..n], &block.0[..n]);
        load_all(&vectors, start, n, &mut block, &mut all);
        let mut pair = 0;
        for i in 0..models {
            let mine = &all[i].0[..n];
            result.zeros[i] += zeros(mine);
            result.largest[i] = result.largest[i].max(largest(mine));
            for j in i..models {
                accumulate(&mut lanes[pair], mine, &all[j].0[..n]);
                pair += 1;
            }
        }
        let (conflicts, contested) = conflicts(&all, n);
        result.conflicts += conflicts;
        result.contested += contested;
        start += n;
    }
    result.base_square = fold_lanes(base_lanes);
    for (product, lanes) in result.products.iter_mut().zip(lanes) {
        *product = fold_lanes(lanes);
    }
    result
}

#[inline(always)]
fn zeros<F: Float>(values: &[F]) -> u64 {
    let mut count = 0_u32;
    for value in values {
        count += u32::from(*value == F::default());
    }
    u64::from(count)
}

/// Largest magnitude that is not NaN.
#[inline(always)]
fn largest<F: Float>(values: &[F]) -> f64 {
    let mut lanes = [F::default(); SUM_LANES];
    for group in values.chunks(SUM_LANES) {
        for (lane, value) in lanes.iter_mut().zip(group) {
            let magnitude = value.magnitude();
            *lane = if magnitude > *lane { magnitude } else { *lane };
        }
    }
    lanes.iter().map(|lane| lane.to_f64()).fold(0.0, f64::max)
}

/// Elements with both signs among the task vectors, and elements that at least two of them change.
#[inline(always)]
fn conflicts<F: Float>(all: &[Aligned<F>], n: usize) -> (u64, u64) {
    let zero = F::default();
    let (mut positive, mut negative) = ([0_u16; BLOCK], [0_u16; BLOCK]);
    for mine in all {
        for ((value, p), m) in mine.0[..n].iter().zip(&mut positive).zip(&mut negative) {
            *p += u16::from(*value > zero);
            *m += u16::from(*value < zero);
        }
    }
    let (mut conflicts, mut contested) = (0_u32, 0_u32);
    for (p, m) in positive[..n].iter().zip(&negative[..n]) {
        conflicts += u32::from((*p > 0) & (*m > 0));
        contested += u32::from(*p + *m > 1);
    }
    (u64::from(conflicts), u64::from(contested))
}
