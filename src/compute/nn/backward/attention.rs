//! Gradient of causal attention; the attention weights are recomputed instead of stored (as `FlashAttention`, Dao et al. 2022).

use crate::compute::nn::activation::capped;
use crate::compute::nn::attention::AttentionShape;
use crate::compute::nn::elementary::exp;
use crate::compute::nn::gemm::{View, multiply};
use crate::compute::nn::norm::dot;
use crate::compute::simd::{LANES, Level, Simd, Task};

/// Queries of a block; the larger, the more masked keys are multiplied in vain.
const BLOCK: usize = 64;

/// Inputs of the forward pass, and the gradient of its output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attended<'a> {
    /// The last tokens' queries, `[t, heads * head_dim]`.
    pub q: &'a [f32],
    /// All keys and values of the sequence, `[total, kv_heads * head_dim]`.
    pub k: &'a [f32],
    /// As the keys.
    pub v: &'a [f32],
    /// Gradient of the result, as the queries.
    pub dout: &'a [f32],
}

/// Gradients of [`attention`](fn@crate::compute::nn::attention) over one sequence without a past: of the queries
/// into `dq`, of keys and values added to `dk` and `dv`.
///
/// # Panics
/// When the lengths do not fit together.
pub(crate) fn attention_backward(
    shape: &AttentionShape,
    attended: Attended<'_>,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let Attended { q, k, v, dout } = attended;
    let AttentionShape { heads, kv_heads, head_dim, scale, window, soft_cap } = *shape;
    let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    if width == 0 || q.is_empty() {
        return;
    }
    assert!(kv_width > 0 && heads.is_multiple_of(kv_heads), "heads shared evenly");
    let (tokens, total) = (q.len() / width, k.len() / kv_width);
    assert!(q.len() == tokens * width && dout.len() == q.len() && dq.len() == q.len(), "queries of whole tokens");
    assert!(k.len() == total * kv_width && [v.len(), dk.len(), dv.len()].iter().all(|len| *len == k.len()), "keys");
    assert!(total >= tokens, "the keys end with the queries' own");
    let past = total - tokens;
    let mut weights = vec![0.0; BLOCK.min(tokens) * total];
    let mut gradients = weights.clone();
    for head in 0..heads {
        let kv = head / (heads / kv_heads) * head_dim;
        for first in (0..tokens).step_by(BLOCK) {
            let end = (first + BLOCK).min(tokens);
            let seen = |query: usize| {
                let end = past + query + 1;
                (window.map_or(0, |window| end.saturating_sub(window.max(1))), end)
            };
            let (from, to) = (seen(first).0, seen(end - 1).1);
            let keys = to - from;
            let at = first * width + head * head_dim;
            let rows = at..(end - 1) * width + (head + 1) * head_dim;
            let queries = View::rows(&q[rows.clone()], head_dim, width);
            let douts = View::rows(&dout[rows], head_dim, width);
            let span = from * kv_width + kv..(to - 1) * kv_width + kv + head_dim;
            let (k, v) =
                (View::rows(&k[span.clone()], head_dim, kv_width), View::rows(&v[span.clone()], head_dim, kv_width));
            let size = (end - first) * keys;
            let (weights, gradients) = (&mut weights[..size], &mut gradients[..size]);
            multiply(queries, k.t(), scale, false, weights, keys);
            multiply(douts, v.t(), 1.0, false, gradients, keys);
            let rows = weights.chunks_exact_mut(keys).zip(gradients.chunks_exact_mut(keys));
            for (query, (weights, gradients)) in (first..end).zip(rows) {
                let (start, end) = seen(query);
                let visible = start - from..end - from;
                let hidden = [0..visible.start, visible.end..keys];
                Level::detected().run(Softmax {
                    scores: &mut weights[visible.clone()],
                    gradients: &mut gradients[visible],
                    soft_cap,
                });
                for range in hidden {
                    weights[range.clone()].fill(0.0);
                    gradients[range].fill(0.0);
                }
            }
            let (weights, gradients) = (View::rows(weights, keys, keys), View::rows(gradients, keys, keys));
            multiply(weights.t(), douts, 1.0, true, &mut dv[span.clone()], kv_width);
            multiply(gradients, k, scale, false, &mut dq[at..], width);
            multiply(gradients.t(), queries, scale, true, &mut dk[span], kv_width);
        }
    }
}

/// Replaces one query's scores by weights, and the gradients of the weights by those of the scores.
struct Softmax<'a> {
    scores: &'a mut [f32],
    gradients: &'a mut [f32],
    soft_cap: Option<f32>,
}

impl Task for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { scores, gradients, soft_cap } = self;
        let mut slopes = None;
        if let Some(cap) = soft_cap {
            // The slope of cap tanh(s / cap) is 1 - tanh^2, taken before the scores are overwritten.
            let (groups, tail) = scores.as_chunks_mut::<LANES>();
            for group in groups {
                simd.store(capped(simd, cap, simd.load(group)), group);
            }
            store_partial(simd, capped(simd, cap, simd.load_partial(tail, 0.0)), tail);
            let slope = |score: &f32| 1.0 - (score / cap) * (score / cap);
            slopes = Some(scores.iter().map(slope).collect::<Vec<f32>>());
        }
        let (groups, tail) = scores.as_chunks_mut::<LANES>();
        let mut max = simd.load_partial(tail, f32::NEG_INFINITY);
        for group in &*groups {
            max = simd.max(max, simd.load(group));
        }
        let top = simd.splat(simd.greatest(max));
        let mut sum = simd.splat(0.0);
        for group in &mut *groups {
            let weight = exp(simd, simd.sub(simd.load(group), top));
            simd.store(weight, group);
            sum = simd.add(sum, weight);
        }
        let weight = exp(simd, simd.sub(simd.load_partial(tail, f32::NEG_INFINITY), top));
        store_partial(simd, weight, tail);
        let inverse = simd.splat(1.0 / simd.sum(simd.add(sum, weight)));
        for group in groups {
            simd.store(simd.mul(simd.load(group), inverse), group);
        }
        store_partial(simd, simd.mul(weight, inverse), tail);
        let along = dot(simd, scores, gradients);
        for (gradient, weight) in gradients.iter_mut().zip(&*scores) {
            *gradient = weight * (*gradient - along);
        }
        if let Some(slopes) = slopes {
            gradients.iter_mut().zip(slopes).for_each(|(gradient, slope)| *gradient *= slope);
        }
    }
}

/// Stores the first lanes, as many as `to` has.
#[inline(always)]
fn store_partial<S: Simd>(simd: S, v: S::V, to: &mut [f32]) {
    let mut group = [0.0; LANES];
    simd.store(v, &mut group);
    to.copy_from_slice(&group[..to.len()]);
}
