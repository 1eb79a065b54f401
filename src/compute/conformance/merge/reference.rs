//! Oracle of the merge kernels: every operation one element at a time, straight from the definitions in
//! [`crate::compute::merge`]. The SIMD kernels, and any device, must match it bit for bit.

use crate::compute::merge::cpu::Float;
use crate::compute::merge::selection::draw_position;
use crate::compute::merge::sum::{SUM_LANES, SUM_RUN, fold_lanes};
use crate::compute::merge::{
    Bracket, Coefficient, ComputeType, Delta, DeltaSummary, Digit, MergeKernels, Operand, Output, Selection,
    TaskVectors, WeightedSum,
};
use crate::dtype::{DType, bf16_to_f32, canonical_f64, f16_to_f32};
use crate::rng::Philox;

/// Merge kernels by definition.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reference;

fn element<F: Float>(operand: &Operand<'_>, index: usize) -> F {
    let width = operand.dtype.bytes();
    let bytes = &operand.bytes[index * width..(index + 1) * width];
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide);
    match operand.dtype {
        DType::BF16 => F::from_f32(bf16_to_f32(bits as u16)),
        DType::F16 => F::from_f32(f16_to_f32(bits as u16)),
        DType::F32 => F::from_f32(f32::from_bits(bits as u32)),
        _ => F::from_f64(f64::from_bits(bits)),
    }
}

fn put<F: Float>(value: F, index: usize, output: &mut Output<'_>) {
    let width = output.dtype.bytes();
    let bytes = match output.dtype {
        DType::BF16 => u64::from(value.to_bf16()),
        DType::F16 => u64::from(value.to_f16()),
        DType::F32 => u64::from(value.to_f32().to_bits()),
        _ => canonical_f64(value.to_f64()).to_bits(),
    }
    .to_le_bytes();
    output.bytes[index * width..(index + 1) * width].copy_from_slice(&bytes[..width]);
}

fn coefficient<F: Float>(coefficient: &Coefficient<'_>, index: usize) -> F {
    match coefficient {
        Coefficient::Uniform(c) => F::from_f64(*c),
        Coefficient::PerElement(cs) => F::from_f64(cs[index]),
    }
}

fn delta<F: Float>(delta: &Delta<'_>, index: usize) -> F {
    let tuned: F = element(&delta.tuned, index);
    delta.base.as_ref().map_or(tuned, |base| tuned.minus(element(base, index)))
}

fn keys<F: Float>(vector: &Delta<'_>) -> Vec<u64> {
    (0..vector.tuned.len()).map(|i| delta::<F>(vector, i).key().into()).collect()
}

/// An element's 32-bit draw.
fn draw(stream: Philox, element: u64) -> u64 {
    (0..32).fold(0, |draw, plane| {
        let (counter, word, bit) = draw_position(element, plane);
        draw << 1 | u64::from(stream.block(counter)[word] >> bit & 1)
    })
}

fn selected<F: Float>(selection: Selection, value: F, index: u64) -> F {
    let key: u64 = value.key().into();
    let (keep, factor) = match selection {
        Selection::All => return value,
        Selection::Nothing => (false, 1.0),
        Selection::Magnitude { threshold, ties_before, rescale } => {
            (key > threshold || key == threshold && index < ties_before, rescale)
        }
        Selection::Random { stream, keep_below, rescale } => (draw(stream, index) < keep_below, rescale),
    };
    if selection == Selection::Nothing || !(keep || value.is_nan()) {
        F::default()
    } else {
        value.times(F::from_f64(factor))
    }
}

fn weighted_sum<F: Float>(job: &WeightedSum<'_>, output: &mut Output<'_>) {
    for e in 0..job.inputs.first().map_or(0, Operand::len) {
        let mut sum = F::default();
        for (input, c) in job.inputs.iter().zip(job.coefficients) {
            sum = element::<F>(input, e).fused(coefficient(c, e), sum);
        }
        put(job.divisor.map_or(sum, |d| sum.over(F::from_f64(d))), e, output);
    }
}

fn task_vectors<F: Float>(job: &TaskVectors<'_>, output: &mut Output<'_>) {
    let zero = F::default();
    for e in 0..job.base.len() {
        let base: F = element(&job.base, e);
        let weighted: Vec<F> = (0..job.inputs.len())
            .map(|i| {
                if job.selections[i] == Selection::Nothing {
                    return zero;
                }
                let value = element::<F>(&job.inputs[i], e).minus(base);
                let value = selected(job.selections[i], value, job.first_element + e as u64);
                value.times(coefficient(&job.coefficients[i], e))
            })
            .collect();
        let sum = weighted.iter().fold(zero, |sum, u| sum.plus(*u));
        let mut mix = sum;
        if job.consensus {
            let agrees = |u: F| if sum >= zero { u > zero } else { u < zero };
            mix = weighted.iter().fold(zero, |mix, u| mix.plus(if agrees(*u) || u.is_nan() { *u } else { zero }));
            if job.normalize {
                let weights = weighted
                    .iter()
                    .enumerate()
                    .map(|(i, u)| if agrees(*u) { coefficient(&job.coefficients[i], e) } else { zero });
                let total = weights.fold(zero, F::plus);
                mix = mix.over(if total == zero { F::from_f64(1.0) } else { total });
            }
        } else if let Some(divisor) = job.divisor {
            mix = mix.over(F::from_f64(divisor));
        }
        put(base.plus(mix.times(F::from_f64(job.scale))), e, output);
    }
}

/// Adds terms by lanes in f64.
fn lane_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let mut lanes = [0.0; SUM_LANES];
    for (i, term) in terms.enumerate() {
        lanes[i % SUM_LANES] += term;
    }
    fold_lanes(lanes)
}

fn products<F: Float>(vectors: &[Delta<'_>], sums: &mut [f64]) {
    let mut pair = 0;
    for i in 0..vectors.len() {
        for j in i..vectors.len() {
            let term = |e| delta::<F>(&vectors[i], e).to_f64() * delta::<F>(&vectors[j], e).to_f64();
            sums[pair] += lane_sum((0..vectors[i].tuned.len()).map(term));
            pair += 1;
        }
    }
}

/// Sums of magnitudes: runs by lanes in the compute type.
fn magnitude_sum<F: Float>(values: &[F]) -> f64 {
    values
        .chunks(SUM_RUN)
        .map(|run| {
            let mut lanes = [F::default(); SUM_LANES];
            for (i, value) in run.iter().enumerate() {
                lanes[i % SUM_LANES] = lanes[i % SUM_LANES].plus(value.magnitude());
            }
            fold_lanes(lanes.map(F::to_f64))
        })
        // From plus zero: an empty `sum()` of floats is minus zero.
        .fold(0.0, |total, run| total + run)
}

fn magnitude_sums<F: Float>(vector: &Delta<'_>, selection: Selection, first: u64) -> (f64, f64) {
    let all: Vec<F> = (0..vector.tuned.len()).map(|e| delta(vector, e)).collect();
    let plain = selection.rescaled(1.0);
    let kept: Vec<F> = all.iter().enumerate().map(|(e, v)| selected(plain, *v, first + e as u64)).collect();
    (magnitude_sum(&all), magnitude_sum(&kept))
}

fn keys_of(vector: &Delta<'_>) -> Vec<u64> {
    match vector.precision {
        ComputeType::F32 => keys::<f32>(vector),
        ComputeType::F64 => keys::<f64>(vector),
    }
}

fn delta_summary<F: Float>(base: Operand<'_>, tuned: &[Operand<'_>]) -> DeltaSummary {
    let precision = ComputeType::F32;
    let vectors: Vec<Delta<'_>> = tuned.iter().map(|t| Delta { base: Some(base), tuned: *t, precision }).collect();
    let mut result = DeltaSummary { products: vec![0.0; tuned.len() * (tuned.len() + 1) / 2], ..Default::default() };
    products::<F>(&vectors, &mut result.products);
    result.base_square = lane_sum((0..base.len()).map(|e| element::<F>(&base, e).to_f64().powi(2)));
    for vector in &vectors {
        let values: Vec<F> = (0..base.len()).map(|e| delta(vector, e)).collect();
        result.zeros.push(values.iter().filter(|v| **v == F::default()).count() as u64);
        result.largest.push(values.iter().map(|v| v.magnitude().to_f64()).fold(0.0, f64::max));
    }
    for e in 0..base.len() {
        let values: Vec<F> = vectors.iter().map(|v| delta(v, e)).collect();
        let count = |wanted: fn(&F) -> bool| values.iter().filter(|v| wanted(v)).count();
        let (positive, negative) = (count(|v| *v > F::default()), count(|v| *v < F::default()));
        result.conflicts += u64::from(positive > 0 && negative > 0);
        result.contested += u64::from(positive + negative > 1);
    }
    result
}

impl MergeKernels for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn scale(&self, input: Operand<'_>, factor: f64, precision: ComputeType, mut output: Output<'_>) {
        for e in 0..input.len() {
            match precision {
                ComputeType::F32 => put(element::<f32>(&input, e) * factor as f32, e, &mut output),
                ComputeType::F64 => put(element::<f64>(&input, e) * factor, e, &mut output),
            }
        }
    }

    fn weighted_sum(&self, job: &WeightedSum<'_>, mut output: Output<'_>) {
        match job.precision {
            ComputeType::F32 => weighted_sum::<f32>(job, &mut output),
            ComputeType::F64 => weighted_sum::<f64>(job, &mut output),
        }
    }

    fn task_vectors(&self, job: &TaskVectors<'_>, mut output: Output<'_>) {
        match job.precision {
            ComputeType::F32 => task_vectors::<f32>(job, &mut output),
            ComputeType::F64 => task_vectors::<f64>(job, &mut output),
        }
    }

    fn products(&self, vectors: &[Delta<'_>], sums: &mut [f64]) {
        match vectors.first().map(|v| v.precision) {
            Some(ComputeType::F64) => products::<f64>(vectors, sums),
            _ => products::<f32>(vectors, sums),
        }
    }

    fn column_products(&self, vectors: &[Delta<'_>], sums: &mut [f64]) {
        let pairs = vectors.len() * (vectors.len() + 1) / 2;
        for e in 0..vectors.first().map_or(0, |v| v.tuned.len()) {
            let column: Vec<Delta<'_>> = vectors
                .iter()
                .map(|v| Delta { base: v.base.map(|b| b.slice(e, e + 1)), tuned: v.tuned.slice(e, e + 1), ..*v })
                .collect();
            self.products(&column, &mut sums[e * pairs..(e + 1) * pairs]);
        }
    }

    fn magnitude_bracket(&self, delta: Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> u64 {
        let keys = keys_of(&delta);
        let within = keys.iter().filter(|k| (bracket.low..=bracket.high).contains(k));
        inside.extend(within.map(|k| (k - bracket.low) as u32));
        keys.iter().filter(|k| **k > bracket.high).count() as u64
    }

    fn magnitude_histogram(&self, delta: Delta<'_>, digit: Digit, counts: &mut [u64]) {
        for key in keys_of(&delta) {
            if u128::from(key) >> (digit.shift + digit.bits) == u128::from(digit.prefix) {
                counts[(key >> digit.shift) as usize & ((1 << digit.bits) - 1)] += 1;
            }
        }
    }

    fn magnitude_positions(&self, delta: Delta<'_>, key: u64, limit: usize) -> Vec<usize> {
        let keys = keys_of(&delta);
        (0..keys.len()).filter(|&i| keys[i] == key).take(limit).collect()
    }

    fn magnitude_counts(&self, delta: Delta<'_>, key: u64) -> (u64, u64) {
        let keys = keys_of(&delta);
        (keys.iter().filter(|k| **k > key).count() as u64, keys.iter().filter(|k| **k == key).count() as u64)
    }

    fn magnitude_sample(&self, delta: Delta<'_>, run: usize, stride: usize, sample: &mut Vec<u32>) {
        let keys = keys_of(&delta);
        sample.extend(keys.iter().enumerate().filter(|(i, _)| i % stride < run).map(|(_, k)| *k as u32));
    }

    fn magnitude_sums(
        &self,
        delta: Delta<'_>,
        selection: Selection,
        first_element: u64,
        mask: Option<&mut [u64]>,
    ) -> (f64, f64) {
        if let (Some(mask), Selection::Random { stream, keep_below, .. }) = (mask, selection) {
            mask.fill(0);
            for e in 0..delta.tuned.len() {
                let drawn = draw(stream, first_element + e as u64) < keep_below;
                mask[e / 64] |= u64::from(drawn) << (e % 64);
            }
        }
        match delta.precision {
            ComputeType::F32 => magnitude_sums::<f32>(&delta, selection, first_element),
            ComputeType::F64 => magnitude_sums::<f64>(&delta, selection, first_element),
        }
    }

    fn non_finite(&self, values: Operand<'_>) -> u64 {
        (0..values.len()).filter(|&e| !element::<f64>(&values, e).is_finite()).count() as u64
    }

    fn delta_summary(&self, base: Operand<'_>, tuned: &[Operand<'_>]) -> DeltaSummary {
        if base.dtype == DType::F64 || tuned.iter().any(|t| t.dtype == DType::F64) {
            delta_summary::<f64>(base, tuned)
        } else {
            delta_summary::<f32>(base, tuned)
        }
    }
}
