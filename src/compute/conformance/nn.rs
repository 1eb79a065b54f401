//! The contract of the kernels: the formulas in f64 within bounds that follow from the arithmetic, and
//! the same bits whatever the batch, the cut of the chain and the instruction set.

use crate::compute::nn::activation::gated_at;
use crate::compute::nn::attention::attention_at;
use crate::compute::nn::exp::{erf, exp, tanh};
use crate::compute::nn::norm::rms_norm_at;
use crate::compute::nn::rotary::rotate_at;
use crate::compute::nn::simd::{LANES, Level, Simd, Task};
use crate::compute::nn::softmax::log_softmax_at_level;
use crate::compute::nn::*;
use crate::dtype::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::rng::Philox;

/// Numbers in [-1, 1).
pub(crate) fn random(n: usize, seed: u64) -> Vec<f32> {
    let stream = Philox::new(seed);
    (0..n).map(|i| stream.block(i as u64)[0] as f32 / (1_u64 << 31) as f32 - 1.0).collect()
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn level_name(level: Level) -> &'static str {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) => "avx512",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => "avx2",
        Level::Scalar(_) => "scalar",
    }
}

/// `run` at every level, the bits compared with the first's, which it returns.
fn at_all_levels(what: &str, run: impl Fn(Level) -> Vec<f32>) -> Vec<f32> {
    let levels = Level::available();
    let first = run(levels[0]);
    for level in &levels[1..] {
        assert_eq!(bits(&run(*level)), bits(&first), "{what} at {}", level_name(*level));
    }
    first
}

pub(crate) fn pack(w: &[f32], n: usize, k: usize, precision: Precision) -> PackedMatrix {
    PackedMatrix::pack(n, k, precision, &mut |row, out| out.copy_from_slice(&w[row * k..][..k]))
}

pub(crate) fn stored(value: f32, precision: Precision) -> f32 {
    match precision {
        Precision::F32 => value,
        Precision::Bf16 => bf16_to_f32(f32_to_bf16(value)),
        Precision::F16 => f16_to_f32(f32_to_f16(value)),
    }
}

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::F16];

#[test]
fn an_element_is_one_chain_of_multiply_adds_whatever_surrounds_it() {
    // Every tile height, stretches that do not divide the depth, panels that are not full, two blocks of rows.
    for (m, n, k) in [(1, 1, 1), (2, 31, 3), (5, 33, 17), (14, 64, 513), (23, 70, 1027), (31, 97, 40), (175, 34, 9)] {
        let (x, w, bias) = (random(m * k, 1), random(n * k, 2), random(n, 3));
        for precision in PRECISIONS {
            let packed = pack(&w, n, k, precision);
            let out = at_all_levels(&format!("{precision:?} {m}x{k}x{n}"), |level| {
                let mut out = vec![f32::NAN; m * n];
                packed.matmul_at(level, &x, Some(&bias), &mut out);
                out
            });
            for row in 0..m {
                for column in 0..n {
                    let chain = (0..k)
                        .fold(0.0_f32, |sum, i| x[row * k + i].mul_add(stored(w[column * k + i], precision), sum));
                    assert_eq!(out[row * n + column].to_bits(), (chain + bias[column]).to_bits(), "{row}, {column}");
                }
            }
            // A row alone.
            let mut alone = vec![0.0; n];
            packed.matmul_at(Level::detected(), &x[(m - 1) * k..], Some(&bias), &mut alone);
            assert_eq!(bits(&alone), bits(&out[(m - 1) * n..]));
            // A row of the weight.
            let mut row = vec![0.0; k];
            packed.row(n - 1, &mut row);
            let expected: Vec<f32> = w[(n - 1) * k..].iter().map(|v| stored(*v, precision)).collect();
            assert_eq!(bits(&row), bits(&expected));
        }
    }
}

#[test]
fn the_way_back_is_one_chain_over_the_outputs_from_the_same_panels() {
    // Panels that are not full either way, several stretches, two blocks of rows.
    for (m, n, k) in [(1, 1, 1), (2, 31, 3), (5, 33, 17), (14, 513, 64), (23, 1331, 70), (31, 40, 97), (350, 34, 9)] {
        let (y, w) = (random(m * n, 18), random(n * k, 19));
        for precision in PRECISIONS {
            let packed = pack(&w, n, k, precision);
            let out = at_all_levels(&format!("{precision:?} {m}x{n}x{k}"), |level| {
                let mut out = vec![f32::NAN; m * k];
                packed.matmul_transposed_at(level, &y, &mut out);
                out
            });
            for row in 0..m {
                for column in 0..k {
                    let terms = (0..n).map(|i| (y[row * n + i], stored(w[i * k + column], precision)));
                    let chain = terms.clone().fold(0.0_f32, |sum, (y, w)| y.mul_add(w, sum));
                    assert_eq!(out[row * k + column].to_bits(), chain.to_bits(), "{row}, {column}");
                    let exact: f64 = terms.map(|(y, w)| f64::from(y) * f64::from(w)).sum();
                    assert!((f64::from(chain) - exact).abs() <= f64::from(f32::EPSILON) * n as f64, "{chain}: {exact}");
                }
            }
            let mut alone = vec![f32::NAN; k];
            packed.matmul_transposed_at(Level::detected(), &y[(m - 1) * n..], &mut alone);
            assert_eq!(bits(&alone), bits(&out[(m - 1) * k..]));
        }
    }
    let mut out = [f32::NAN; 10];
    pack(&[], 0, 5, Precision::F32).matmul_transposed(&[], &mut out);
    assert_eq!(out, [0.0; 10]);
    pack(&[], 3, 0, Precision::Bf16).matmul_transposed(&[1.0; 6], &mut []);
    // A bad weight harms its input only.
    let packed = pack(&[1.0, f32::NAN, 1.0, 1.0], 2, 2, Precision::F32);
    packed.matmul_transposed(&[1.0, 0.0, 0.0, 1.0], &mut out[..4]);
    assert!(out[0] == 1.0 && out[2] == 1.0 && out[1].is_nan() && out[3].is_nan());
}

#[test]
fn results_in_vectors_of_their_own_are_those_in_given_memory() {
    // Edges, several stretches and blocks, no depth, no rows.
    for (m, n, k) in [(3, 33, 17), (130, 70, 1300), (2, 3, 0), (0, 5, 5), (4, 0, 5)] {
        let (x, w, bias) = (random(m * k, 20), random(n * k, 21), random(n, 22));
        let packed = pack(&w, n, k, Precision::F32);
        for bias in [None, Some(bias.as_slice())] {
            let mut out = vec![f32::NAN; m * n];
            packed.matmul(&x, bias, &mut out);
            assert_eq!(bits(&packed.matmul_to_vec(m, &x, bias)), bits(&out), "{m}x{k}x{n}");
        }
    }
    for n in [0, 1, 16, 37] {
        let (a, b) = (random(3 * n, 23), random(3 * n, 24));
        let mut out = vec![f32::NAN; 3 * n];
        gated(Activation::Silu, &a, &b, &mut out);
        assert_eq!(bits(&gated_to_vec(Activation::Silu, &a, &b)), bits(&out));
        rms_norm(&a, &b[..n], 1.0, 1e-5, &mut out);
        assert_eq!(bits(&rms_norm_to_vec(&a, &b[..n], 1.0, 1e-5)), bits(&out));
    }
}

#[test]
fn products_of_no_depth_are_the_bias_and_bad_numbers_stay_in_their_row_and_column() {
    let packed = pack(&[], 3, 0, Precision::F32);
    let mut out = [f32::NAN; 6];
    packed.matmul(&[], Some(&[1.0, 2.0, 3.0]), &mut out);
    assert_eq!(out, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    pack(&[], 0, 5, Precision::F32).matmul(&[0.0; 5], None, &mut []);

    for precision in PRECISIONS {
        let (m, n, k) = (20, 40, 30);
        let (mut x, mut w) = (vec![1.0; m * k], vec![1.0; n * k]);
        x[7 * k + 3] = f32::NAN;
        w[33 * k + 29] = f32::INFINITY;
        let packed = pack(&w, n, k, precision);
        for level in Level::available() {
            let mut out = vec![0.0; m * n];
            packed.matmul_at(level, &x, None, &mut out);
            for (i, value) in out.iter().enumerate() {
                match (i / n, i % n) {
                    (7, _) => assert!(value.is_nan()),
                    (_, 33) => assert_eq!(*value, f32::INFINITY),
                    _ => assert_eq!(*value, 30.0),
                }
            }
        }
    }
}

/// The formula in f64, hidden keys left out.
fn naive(shape: &AttentionShape, q: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = *shape;
    let (t, total) = (q.len() / (heads * head_dim), keys.len() / (kv_heads * head_dim));
    let mut out = vec![0.0; q.len()];
    for query in 0..t {
        let end = total - t + query + 1;
        let start = shape.window.map_or(0, |w| end.saturating_sub(w));
        for head in 0..heads {
            let kv = head / (heads / kv_heads);
            let q = &q[(query * heads + head) * head_dim..][..head_dim];
            let at = |memory: &[f32], key: usize, i: usize| f64::from(memory[(key * kv_heads + kv) * head_dim + i]);
            let scores: Vec<f64> = (start..end)
                .map(|key| {
                    let dot: f64 = (0..head_dim).map(|i| f64::from(q[i]) * at(keys, key, i)).sum();
                    let score = dot * f64::from(shape.scale);
                    shape.soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                })
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            for i in 0..head_dim {
                out[(query * heads + head) * head_dim + i] =
                    (start..end).zip(&scores).map(|(key, s)| (s - max).exp() / sum * at(values, key, i)).sum();
            }
        }
    }
    out
}

/// The chain cut into blocks of the lengths given, the rest as one.
fn cut<'a>(keys: &'a [f32], values: &'a [f32], width: usize, lengths: &[usize]) -> Vec<KeyValues<'a>> {
    let mut chain = Vec::new();
    let mut at = 0;
    for length in lengths {
        chain.push(KeyValues { keys: &keys[at..at + length * width], values: &values[at..at + length * width] });
        at += length * width;
    }
    chain.push(KeyValues { keys: &keys[at..], values: &values[at..] });
    chain
}

#[test]
fn attention_is_the_formula_and_its_bits_depend_on_the_sequence_alone() {
    let shape = |heads, kv_heads, head_dim, window, soft_cap| AttentionShape {
        heads,
        kv_heads,
        head_dim,
        scale: 1.7,
        window,
        soft_cap,
    };
    for (shape, past, t) in [
        (shape(1, 1, 1, None, None), 0, 1),
        (shape(9, 3, 64, None, None), 0, 37),
        (shape(6, 2, 20, None, Some(3.0)), 45, 19),
        (shape(4, 4, 33, Some(5), None), 23, 17),
        (shape(4, 1, 16, Some(1), None), 3, 9),
        // Several blocks of scores; keys that no query sees; a window that spans blocks.
        (shape(2, 1, 8, None, None), 1100, 7),
        (shape(2, 1, 8, Some(600), None), 1200, 40),
        (shape(3, 1, 530, None, None), 9, 4),
    ] {
        let (width, kv_width) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let total = past + t;
        let (q, keys, values) = (random(t * width, 4), random(total * kv_width, 5), random(total * kv_width, 6));
        let what = format!("{shape:?}, {past} + {t}");
        let out = at_all_levels(&what, |level| {
            let mut out = vec![f32::NAN; q.len()];
            attention_at(level, &shape, &q, &cut(&keys, &values, kv_width, &[]), &mut out);
            out
        });
        // A score of d terms below 1.7 errs by (d + 6) / 2 roundings of what its terms add up to, at worst; weights by
        // that relative to themselves. Half of the worst is generous.
        let bound = f64::from(f32::EPSILON) * (shape.head_dim as f64 * 1.7 * 0.5 + 12.0);
        for (o, expected) in out.iter().zip(naive(&shape, &q, &keys, &values)) {
            assert!((f64::from(*o) - expected).abs() < bound, "{what}: {o} for {expected}");
        }
        // Cut anywhere, the past in pieces; the same queries one at a time.
        for lengths in [vec![past / 2], vec![0, past], vec![1; past.min(30)], vec![total]] {
            let mut again = vec![f32::NAN; q.len()];
            attention(&shape, &q, &cut(&keys, &values, kv_width, &lengths), &mut again);
            assert_eq!(bits(&again), bits(&out), "{what}, cut {lengths:?}");
        }
        for query in [0, t / 2, t - 1] {
            let visible = (past + query + 1) * kv_width;
            let mut alone = vec![f32::NAN; width];
            let chain = [KeyValues { keys: &keys[..visible], values: &values[..visible] }];
            attention(&shape, &q[query * width..][..width], &chain, &mut alone);
            assert_eq!(bits(&alone), bits(&out[query * width..][..width]), "{what}, query {query} alone");
        }
    }
}

#[test]
fn a_bad_key_harms_those_who_see_it_only() {
    let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 4, scale: 1.0, window: Some(6), soft_cap: None };
    let (t, width) = (20, 8);
    let (q, keys, mut values) = (random(t * width, 7), random(t * 4, 8), random(t * 4, 9));
    values[9 * 4 + 2] = f32::NAN;
    for level in Level::available() {
        let mut out = vec![0.0; q.len()];
        attention_at(level, &shape, &q, &[KeyValues { keys: &keys, values: &values }], &mut out);
        for (i, value) in out.iter().enumerate() {
            assert_eq!(value.is_nan(), (9..15).contains(&(i / width)) && i % 4 == 2, "{i}");
        }
        let mut bad_keys = keys.clone();
        bad_keys[9 * 4] = f32::NAN;
        attention_at(level, &shape, &q, &[KeyValues { keys: &bad_keys, values: &keys }], &mut out);
        for (i, value) in out.iter().enumerate() {
            assert_eq!(value.is_nan(), (9..15).contains(&(i / width)), "{i}");
        }
    }
}

#[derive(Clone, Copy)]
enum Elementary {
    Exp,
    Tanh,
    Erf,
}

struct Apply<'a>(Elementary, &'a [f32]);

impl Task for Apply<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let mut out = Vec::new();
        for chunk in self.1.chunks(LANES) {
            let x = simd.load_partial(chunk, 0.0);
            let y = match self.0 {
                Elementary::Exp => exp(simd, x),
                Elementary::Tanh => tanh(simd, x),
                Elementary::Erf => erf(simd, x),
            };
            let mut group = [0.0; LANES];
            simd.store(y, &mut group);
            out.extend_from_slice(&group[..chunk.len()]);
        }
        out
    }
}

/// Units in the last place of the f32 nearest to `expected`.
fn ulps(value: f32, expected: f64) -> f64 {
    let nearest = expected.abs().max(f64::from(f32::MIN_POSITIVE)) as f32;
    (f64::from(value) - expected).abs() / f64::from(f32::from_bits(nearest.to_bits() + 1) - nearest)
}

#[test]
fn elementary_functions_are_close_and_the_same_everywhere() {
    let mut x: Vec<f32> = (-110_000..=95_000).map(|i| i as f32 * 0.001 + 0.000_37).collect();
    x.extend((1..400_u32).map(|i| f32::from_bits(i << 22)));
    x.extend((1..400_u32).map(|i| -f32::from_bits(i << 22)));
    let run = |f, name: &str| at_all_levels(name, |level| level.run(Apply(f, &x)));
    let mut worst = [0.0_f64; 3];
    for (x, y) in x.iter().zip(run(Elementary::Exp, "exp")) {
        let expected = f64::from(*x).exp();
        if expected > f64::from(f32::MAX) {
            assert_eq!(y, f32::INFINITY, "{x}");
        } else if *x < -87.336 {
            assert_eq!(y, 0.0, "{x}");
        } else {
            worst[0] = worst[0].max(ulps(y, expected));
        }
    }
    for (x, y) in x.iter().zip(run(Elementary::Tanh, "tanh")) {
        worst[1] = worst[1].max(ulps(y, f64::from(*x).tanh()));
    }
    for (x, y) in x.iter().zip(run(Elementary::Erf, "erf")) {
        worst[2] = worst[2].max((f64::from(y) - erf_series(f64::from(*x))).abs());
    }
    println!("worst: exp {:.2} ulp, tanh {:.2} ulp, erf {:.1e}", worst[0], worst[1], worst[2]);
    assert!(worst[0] < 2.0 && worst[1] < 3.0 && worst[2] < 1.5e-7, "{worst:?}");
    for level in Level::available() {
        let y =
            level.run(Apply(Elementary::Exp, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e30, -1e30]));
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [f32::INFINITY, 0.0, 1.0, 1.0, f32::INFINITY, 0.0]);
        for f in [Elementary::Tanh, Elementary::Erf] {
            let y = level.run(Apply(f, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]));
            assert!(y[0].is_nan() && y[1..] == [1.0, -1.0]);
        }
    }
}

/// erf by its Taylor series (Abramowitz and Stegun 7.1.6), 1 beyond 5.
fn erf_series(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

#[test]
fn gates_norms_and_rotations_are_their_formulas_with_the_same_bits_everywhere() {
    for n in [1, 16, 37, 999] {
        let gate: Vec<f32> = random(n, 10).iter().map(|v| v * 12.0).collect();
        let up = random(n, 11);
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
            let out = at_all_levels(&format!("{activation:?} {n}"), |level| {
                let mut out = vec![f32::NAN; n];
                gated_at(level, activation, &gate, &up, &mut out);
                out
            });
            for i in 0..n {
                let x = f64::from(gate[i]);
                let active = match activation {
                    Activation::Silu => x / (1.0 + (-x).exp()),
                    Activation::GeluTanh => {
                        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
                    }
                    Activation::Gelu => 0.5 * x * (1.0 + erf_series(x / std::f64::consts::SQRT_2)),
                };
                let expected = active * f64::from(up[i]);
                assert!((f64::from(out[i]) - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "{x}: {}", out[i]);
            }
        }
        let rows = 3;
        let (x, weight) = (random(rows * n, 12), random(n, 13));
        for offset in [0.0, 1.0] {
            let out = at_all_levels(&format!("norm {n}"), |level| {
                let mut out = vec![f32::NAN; x.len()];
                rms_norm_at(level, &x, &weight, offset, 1e-5, &mut out);
                out
            });
            for (row, out) in x.chunks(n).zip(out.chunks(n)) {
                let mean = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n as f64;
                for i in 0..n {
                    let expected =
                        f64::from(row[i]) / (mean + 1e-5).sqrt() * (f64::from(offset) + f64::from(weight[i]));
                    assert!((f64::from(out[i]) - expected).abs() <= 1e-6 * (1.0 + expected.abs()));
                }
            }
        }
    }
    for (heads, head_dim, rotary_dim) in [(1, 2, 2), (3, 20, 20), (9, 64, 64), (2, 96, 72)] {
        let (t, half) = (5, rotary_dim / 2);
        let x = random(t * heads * head_dim, 14);
        let (cos, sin) = (random(t * half, 15), random(t * half, 16));
        let out = at_all_levels("rotate", |level| {
            let mut out = x.clone();
            rotate_at(level, &mut out, heads, head_dim, rotary_dim, &cos, &sin);
            out
        });
        for (i, value) in out.iter().enumerate() {
            let (token, at) = (i / (heads * head_dim), i % head_dim);
            let expected = if at < half {
                x[i] * cos[token * half + at] - x[i + half] * sin[token * half + at]
            } else if at < rotary_dim {
                x[i] * cos[token * half + at - half] + x[i - half] * sin[token * half + at - half]
            } else {
                x[i]
            };
            assert_eq!(value.to_bits(), expected.to_bits());
        }
    }
}

#[test]
fn log_softmax_is_its_formula_and_knows_the_greedy_choice() {
    for n in [1, 15, 64, 1000, 50_001] {
        let mut logits: Vec<f32> = random(n, 17).iter().map(|v| v * 20.0).collect();
        let top = n / 2;
        logits[top] = 20.5;
        logits[n - 1] = 20.5;
        let max = 20.5_f64;
        let ln = logits.iter().map(|v| (f64::from(*v) - max).exp()).sum::<f64>().ln();
        for token in [0, top, n - 1] {
            let results: Vec<_> = Level::available()
                .iter()
                .map(|level| log_softmax_at_level(*level, &logits, token as u32))
                .map(|(value, greedy)| (value.to_bits(), greedy))
                .collect();
            assert!(results.iter().all(|result| *result == results[0]), "{n}");
            let (value, greedy) = log_softmax_at(&logits, token as u32);
            assert!((value - (f64::from(logits[token]) - max - ln)).abs() < 1e-6, "{n}: {value}");
            assert_eq!(greedy, token == top, "{n}, {token}");
        }
    }
    let probability = |logits: &[f32], token| log_softmax_at(logits, token);
    assert!(probability(&[1.0, f32::NAN], 0).0.is_nan());
    assert!(probability(&[1.0, f32::INFINITY], 0).0.is_nan());
    assert!(probability(&[1.0], 1).0.is_nan() && probability(&[], 0).0.is_nan());
    assert_eq!(probability(&[0.0, f32::NEG_INFINITY], 1), (f64::NEG_INFINITY, false));
    assert_eq!(probability(&[0.0, f32::NEG_INFINITY], 0), (0.0, true));
    let mut x = [0.5, -100.0, f32::NAN];
    soft_cap(30.0, &mut x);
    assert!((f64::from(x[0]) - 30.0 * (0.5_f64 / 30.0).tanh()).abs() < 1e-7 && x[2].is_nan());
    assert!((f64::from(x[1]) + 30.0 * (100.0_f64 / 30.0).tanh()).abs() < 1e-5);
}

/// The trainer's products: what the `gemm` crate made of them depended on the instruction set.
#[test]
fn a_dense_product_is_one_chain_of_multiply_adds_at_every_level() {
    for (m, n, k, extra) in [
        (1, 1, 1, 0),
        (14, 64, 33, 0),
        (129, 31, 7, 5),
        (40, 16, 650, 3),
        (7, 530, 20, 0),
        (200, 8, 300, 1),
        (33, 33, 1290, 2),
    ] {
        // Rows lie further apart than they are long.
        let place = |rows: usize, columns: usize, seed: u64| random(rows * (columns + extra), seed);
        let value = |data: &[f32], columns: usize, row: usize, column: usize| data[row * (columns + extra) + column];
        let (a, a_t, b, b_t) = (place(m, k, 1), place(k, m, 2), place(k, n, 3), place(n, k, 4));
        let view = |data: &'static [f32], columns: usize| View::rows(data, columns, columns + extra);
        let [a, a_t, b, b_t] = [a, a_t, b, b_t].map(|data| &*data.leak());
        for (lhs_transposed, rhs_transposed, scale, accumulate) in
            [(false, false, 1.0, false), (false, true, 0.3, true), (true, false, 0.3, false), (true, true, 1.0, true)]
        {
            let lhs = if lhs_transposed { view(a_t, m).t() } else { view(a, k) };
            let rhs = if rhs_transposed { view(b_t, k).t() } else { view(b, n) };
            let stride = n + extra;
            let before = random(m * stride, 5);
            let what = format!("{m}x{k}x{n} {lhs_transposed} {rhs_transposed}");
            let out = at_all_levels(&what, |level| {
                let mut out = before.clone();
                crate::compute::nn::dense::multiply_at(level, lhs, rhs, scale, accumulate, &mut out, stride);
                out
            });
            for row in 0..m {
                for column in 0..n {
                    let left = |i| if lhs_transposed { value(a_t, m, i, row) } else { value(a, k, row, i) };
                    let right = |i| if rhs_transposed { value(b_t, k, column, i) } else { value(b, n, i, column) };
                    let start = if accumulate { before[row * stride + column] } else { 0.0 };
                    let chain = (0..k).fold(start, |sum, i| (left(i) * scale).mul_add(right(i), sum));
                    assert_eq!(out[row * stride + column].to_bits(), chain.to_bits(), "{what}: {row}, {column}");
                }
                let beyond = row * stride + n..(row + 1) * stride;
                assert_eq!(out[beyond.clone()], before[beyond], "{what}: beside the result");
            }
        }
    }
}
