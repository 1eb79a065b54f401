//! Attention: the formula in f64, and bits that depend on the sequence alone.

use super::inputs::{at_all_levels, bits, random};
use crate::compute::nn::attention::attention_at;
use crate::compute::nn::{AttentionShape, KeyValues, attention};
use crate::compute::simd::Level;

/// Attention in f64, masked keys left out.
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

/// Splits the sequence into blocks of the given lengths, the rest as one.
fn cut<'a>(keys: &'a [f32], values: &'a [f32], width: usize, lengths: &[usize]) -> Vec<KeyValues<'a>> {
    let mut blocks = Vec::new();
    let mut at = 0;
    for length in lengths {
        blocks.push(KeyValues { keys: &keys[at..at + length * width], values: &values[at..at + length * width] });
        at += length * width;
    }
    blocks.push(KeyValues { keys: &keys[at..], values: &values[at..] });
    blocks
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
            let blocks = [KeyValues { keys: &keys[..visible], values: &values[..visible] }];
            attention(&shape, &q[query * width..][..width], &blocks, &mut alone);
            assert_eq!(bits(&alone), bits(&out[query * width..][..width]), "{what}, query {query} alone");
        }
    }
}

#[test]
fn a_nan_key_reaches_only_queries_that_see_it() {
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
