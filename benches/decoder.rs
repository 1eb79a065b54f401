//! The decoder's kernels on one core: products and attention in floating-point operations per
//! second beside a loop of nothing but fused multiply-adds, element-wise kernels in elements per second
//! beside a `memcpy`, so that ratios survive a busy machine.

use std::hint::black_box;

use billon::internal::Philox;
use billon::internal::nn::{
    Activation, AttentionShape, KeyValues, PackedMatrix, WeightDtype, attention, gated, log_softmax_at, rms_norm,
    rotate,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Rows, inputs and outputs of products: decoding and prefill on the layers of a 135M model.
const PRODUCTS: [(usize, usize, usize); 6] =
    [(1, 576, 1536), (48, 576, 576), (48, 576, 1536), (48, 1536, 576), (512, 576, 1536), (1, 576, 49152)];
/// Queries and keys before them.
const ATTENTIONS: [(usize, usize); 5] = [(1, 500), (50, 500), (100, 0), (500, 0), (2000, 0)];
/// Multiply-adds of sixteen lanes in the peak's loop.
const PEAK: usize = 24 * 10_000;

fn random(n: usize, seed: u64) -> Vec<f32> {
    let stream = Philox::new(seed);
    (0..n).map(|i| stream.block(i as u64)[0] as f32 / (1_u64 << 31) as f32 - 1.0).collect()
}

/// Independent chains of fused multiply-adds and nothing else.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn multiply_adds(factor: f32) -> f32 {
    use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let factor = _mm512_set1_ps(factor);
    let mut chains = [factor; 24];
    for _ in 0..PEAK / 24 {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, factor, factor);
        }
    }
    _mm512_reduce_add_ps(chains.into_iter().reduce(|a, b| _mm512_add_ps(a, b)).unwrap_or(factor))
}

fn peak(criterion: &mut Criterion, group: &str) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(2 * 16 * PEAK as u64));
        // SAFETY: the feature was detected.
        group.bench_function("multiply-adds alone", |b| b.iter(|| unsafe { multiply_adds(black_box(0.5)) }));
        group.finish();
    }
}

fn products(criterion: &mut Criterion) {
    const GROUP: &str = "product, FLOP";
    peak(criterion, GROUP);
    for (m, k, n) in PRODUCTS {
        let mut group = criterion.benchmark_group(GROUP);
        group.throughput(Throughput::Elements((2 * m * k * n) as u64));
        let (x, w) = (random(m * k, 1), random(n * k, 2));
        let y = random(m * n, 11);
        let (mut out, mut back) = (vec![0.0; m * n], vec![0.0; m * k]);
        for precision in [WeightDtype::F32, WeightDtype::Bf16, WeightDtype::F16] {
            let packed = PackedMatrix::pack(n, k, precision, &mut |r, row| row.copy_from_slice(&w[r * k..][..k]));
            group.bench_function(format!("{m}x{k}x{n} {precision:?}"), |b| {
                b.iter(|| packed.matmul(black_box(&x), None, &mut out));
            });
            group.bench_function(format!("{m}x{k}x{n} {precision:?}, back"), |b| {
                b.iter(|| packed.matmul_transposed(black_box(&y), &mut back));
            });
        }
        group.finish();
    }
}

fn attentions(criterion: &mut Criterion) {
    const GROUP: &str = "attention, FLOP";
    peak(criterion, GROUP);
    let shape = AttentionShape { heads: 9, kv_heads: 3, head_dim: 64, scale: 0.125, window: None, soft_cap: None };
    for (t, past) in ATTENTIONS {
        let mut group = criterion.benchmark_group(GROUP);
        let pairs: usize = (past + 1..=past + t).sum();
        group.throughput(Throughput::Elements((4 * pairs * shape.heads * shape.head_dim) as u64));
        let width = shape.kv_heads * shape.head_dim;
        let q = random(t * shape.heads * shape.head_dim, 3);
        let (keys, values) = (random((past + t) * width, 4), random((past + t) * width, 5));
        let mut out = vec![0.0; q.len()];
        group.bench_function(format!("{t} queries after {past}"), |b| {
            b.iter(|| attention(&shape, black_box(&q), &[KeyValues { keys: &keys, values: &values }], &mut out));
        });
        group.finish();
    }
}

fn elements(criterion: &mut Criterion) {
    let (rows, width) = (128, 576);
    let n = rows * width;
    let (a, b, weight) = (random(n, 6), random(n, 7), random(width, 8));
    let (cos, sin) = (random(rows * 32, 9), random(rows * 32, 10));
    let mut out = vec![0.0; n];
    let mut group = criterion.benchmark_group("element by element");
    group.throughput(Throughput::Elements(n as u64));
    group.bench_function("memcpy", |bench| bench.iter(|| out.copy_from_slice(black_box(&a))));
    for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
        group.bench_function(format!("{activation:?}"), |bench| {
            bench.iter(|| gated(activation, black_box(&a), &b, &mut out));
        });
    }
    group.bench_function("rms_norm", |bench| bench.iter(|| rms_norm(black_box(&a), &weight, 0.0, 1e-5, &mut out)));
    group.bench_function("rotate", |bench| bench.iter(|| rotate(black_box(&mut out), 9, 64, 64, &cos, &sin)));
    group.bench_function("log_softmax_at", |bench| bench.iter(|| log_softmax_at(black_box(&a), 7)));
    group.finish();
}

criterion_group!(benches, products, attentions, elements);
criterion_main!(benches);
