//! Merge kernels on one core: time per chunk and bytes per second, with a `memcpy` of the same
//! bytes in the same group, so that ratios survive a busy machine.

use std::hint::black_box;

use billon::internal::Philox;
use billon::internal::merge_kernels::Cpu;
use billon::internal::merge_kernels::{
    Bracket, Coefficient, ComputeType, Delta, Digit, MergeKernels, Operand, Output, Selection, TaskVectors, WeightedSum,
};
use billon::internal::{DType, f32_to_bf16};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Elements of a call: a chunk as the executor cuts it.
const ELEMENTS: usize = 512 * 1024;
/// Fine-tuned models.
const MODELS: usize = 3;

/// bf16 weights around zero, or a fine-tune of them.
fn weights(seed: u64, base: Option<&[f32]>) -> Vec<f32> {
    let stream = Philox::new(seed);
    let normal = |i: usize| {
        let words = stream.block(i as u64);
        words.iter().map(|w| *w as f32 / u32::MAX as f32).sum::<f32>() - 2.0
    };
    (0..ELEMENTS).map(|i| base.map_or(0.02 * normal(i), |b| b[i] + 1e-3 * normal(i))).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| f32_to_bf16(*v).to_le_bytes()).collect()
}

fn kernels(criterion: &mut Criterion) {
    let base_values = weights(1, None);
    let base = bytes(&base_values);
    let tuned: Vec<Vec<u8>> = (0..MODELS).map(|m| bytes(&weights(m as u64 + 2, Some(&base_values)))).collect();
    let operand = |bytes| Operand { bytes, dtype: DType::BF16 };
    let inputs: Vec<Operand<'_>> = tuned.iter().map(|t| operand(t)).collect();
    let base = operand(&base);
    let coefficients = [Coefficient::Uniform(0.4); MODELS];
    let mut out = vec![0; ELEMENTS * 2];
    let precision = ComputeType::F32;

    let mut group = criterion.benchmark_group("map, 3 bf16 models and base");
    group.throughput(Throughput::Bytes((ELEMENTS * 2 * (MODELS + 2)) as u64));
    group.bench_function("memcpy of the same bytes", |b| {
        let mut copies = vec![vec![0_u8; ELEMENTS * 2]; 3];
        b.iter(|| {
            // Five buffers of traffic: two copies move four, a half copy the fifth.
            copies[0].copy_from_slice(black_box(inputs[0].bytes));
            copies[1].copy_from_slice(black_box(inputs[1].bytes));
            copies[2][..ELEMENTS].copy_from_slice(black_box(&inputs[2].bytes[..ELEMENTS]));
            black_box(&mut copies);
        });
    });
    group.bench_function("linear", |b| {
        let job = WeightedSum { inputs: &inputs, coefficients: &coefficients, divisor: Some(1.2), precision };
        b.iter(|| Cpu.weighted_sum(black_box(&job), Output { bytes: &mut out, dtype: DType::BF16 }));
    });
    let random = |seed| Selection::Random { stream: Philox::new(seed), keep_below: 1 << 31, rescale: 2.0 };
    let trimmed = Selection::Magnitude { threshold: u64::from(0.0012_f32.to_bits()), ties_before: 1000, rescale: 1.0 };
    let cases = [
        ("task_arithmetic", [Selection::All; MODELS], false),
        ("ties", [trimmed; MODELS], true),
        ("dare_linear", [random(1), random(2), random(3)], false),
        ("dare_ties", [random(1), random(2), random(3)], true),
    ];
    for (name, selections, consensus) in cases {
        group.bench_function(name, |b| {
            let job = TaskVectors {
                base,
                inputs: &inputs,
                selections: &selections,
                masks: &[],
                coefficients: &coefficients,
                consensus,
                normalize: consensus,
                divisor: None,
                scale: 1.0,
                first_element: 0,
                precision,
            };
            b.iter(|| Cpu.task_vectors(black_box(&job), Output { bytes: &mut out, dtype: DType::BF16 }));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("statistics, 1 bf16 model and base");
    group.throughput(Throughput::Bytes((ELEMENTS * 2 * 2) as u64));
    let delta = Delta { base: Some(base), tuned: inputs[0], precision };
    let low = u64::from(0.00115_f32.to_bits());
    let high = u64::from(0.00125_f32.to_bits());
    group.bench_function("trim bracket", |b| {
        b.iter(|| {
            let mut inside = Vec::new();
            black_box(Cpu.magnitude_bracket(black_box(delta), Bracket { low, high }, &mut inside))
        });
    });
    group.bench_function("trim histogram", |b| {
        let mut counts = vec![0; 1 << 16];
        b.iter(|| Cpu.magnitude_histogram(black_box(delta), Digit { shift: 15, bits: 16, prefix: 0 }, &mut counts));
    });
    group.bench_function("slerp products", |b| {
        let plain = |i: usize| Delta { base: None, tuned: inputs[i], precision };
        let mut sums = [0.0; 3];
        b.iter(|| Cpu.products(black_box(&[plain(0), plain(1)]), &mut sums));
    });
    group.bench_function("dare sums", |b| {
        b.iter(|| black_box(Cpu.magnitude_sums(black_box(delta), random(1), 0, None)));
    });
    group.bench_function("diff", |b| b.iter(|| black_box(Cpu.delta_summary(black_box(base), &inputs[..1]))));
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
