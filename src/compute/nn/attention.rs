//! Causal attention with grouped queries (Ainslie et al. 2023): `out = softmax(scale Q K^T) V` for the last tokens of a
//! sequence.
//!
//! The keys and values of a head are packed into panels first, whatever blocks of the KV cache they come in. Then a tile of
//! rows (queries, and the heads that share keys) at a time takes all its scores `[rows, keys]`, the softmax over whole
//! rows, and the values: rows of scores fit the second-level cache, so that no online softmax is needed. Masked keys
//! enter no sum: a NaN in the future of a row does not reach it.

use std::cell::Cell;
use std::ops::Range;

use super::activation::capped;
use super::elementary::exp;
use crate::compute::simd::{AHEAD, Group, KC, LANES, LEFT_STRIDE, Level, Line, Operands, PANEL, Simd, Start, Task};

/// A block of consecutive tokens' keys (after the rotary embedding) and values, each
/// `[tokens, kv_heads * head_dim]`.
///
/// A list of them is a sequence: the past, oldest first, then the segment's own.
#[derive(Debug, Clone, Copy)]
pub struct KeyValues<'a> {
    /// Keys.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
}

/// Attention settings of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads, each shared by `heads / kv_heads` consecutive query heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Keys that a query sees, its own included (sliding window); all if `None`.
    pub window: Option<usize>,
    /// Scores are capped to `cap * tanh(score / cap)` after the scale.
    pub soft_cap: Option<f32>,
}

/// `out = softmax(scale * q K^T) V` for the last `t` tokens of the sequence, each of which sees itself and the tokens
/// before it.
///
/// `q` and `out` are `[t, heads * head_dim]`. A score is one FMA loop over the head's
/// elements, the sum of a row's exponentials is interleaved by the key's position in the sequence modulo 16, and an
/// output is one FMA loop over the visible keys in order, then multiplied by the inverse of that sum.
///
/// # Panics
/// When the lengths do not fit together, or the sequence is shorter than `q`.
pub fn attention(shape: &AttentionShape, q: &[f32], blocks: &[KeyValues<'_>], out: &mut [f32]) {
    attention_at(Level::detected(), shape, q, blocks, out);
}

pub(crate) fn attention_at(level: Level, shape: &AttentionShape, q: &[f32], blocks: &[KeyValues<'_>], out: &mut [f32]) {
    let (width, kv_width) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    if width == 0 || q.is_empty() {
        return;
    }
    assert!(kv_width > 0 && shape.heads.is_multiple_of(shape.kv_heads), "heads shared evenly");
    let tokens = q.len() / width;
    assert!(q.len() == tokens * width && out.len() == q.len(), "queries and results of whole tokens");
    let mut total = 0;
    for block in blocks {
        assert!(block.keys.len() == block.values.len() && block.keys.len() % kv_width == 0, "keys of whole tokens");
        total += block.keys.len() / kv_width;
    }
    assert!(total >= tokens, "the sequence ends with the queries' own keys");
    level.run(Attention { shape: *shape, q, blocks, out, tokens, total });
}

struct Attention<'a> {
    shape: AttentionShape,
    q: &'a [f32],
    blocks: &'a [KeyValues<'a>],
    out: &'a mut [f32],
    /// Queries, and keys of the whole sequence.
    tokens: usize,
    total: usize,
}

/// Buffers that a thread keeps from call to call.
#[derive(Default)]
struct Scratch {
    /// Panels of 32 keys, each over the head's elements.
    keys: Vec<Line<f32>>,
    /// Panels of 32 of the head's elements, each over the keys.
    values: Vec<Line<f32>>,
    /// The tile's queries: blocks of at most `KC` of a head's elements, `[rows, LEFT_STRIDE]` each.
    queries: Vec<f32>,
    /// Scores, then weights: blocks of [`KC`] keys, `[rows, LEFT_STRIDE]` each.
    scores: Vec<f32>,
    /// Results, `[rows, head_dim]` in whole panels.
    results: Vec<f32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Task for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let mut scratch = SCRATCH.take();
        // Position 0 of the scratch. Keys that no query sees are not packed, but whole blocks of `KC` keys are skipped, so
        // that a key keeps its lane and its sum whatever the number of queries in the call.
        let base = self.visible(0).start / KC * KC;
        let span = self.total - base;
        let head_dim = self.shape.head_dim;
        let panels = head_dim.div_ceil(PANEL);
        scratch.keys.resize(span.div_ceil(PANEL) * head_dim, Line([0.0; PANEL]));
        scratch.values.resize(panels * span, Line([0.0; PANEL]));
        scratch.queries.resize(head_dim.div_ceil(KC) * S::MR * LEFT_STRIDE, 0.0);
        scratch.scores.resize(span.div_ceil(KC) * S::MR * LEFT_STRIDE, 0.0);
        scratch.results.resize(S::MR * panels * PANEL, 0.0);
        let rows = self.tokens * self.group();
        let tiles = rows.div_ceil(S::MR);
        for kv_head in 0..self.shape.kv_heads {
            self.pack(simd, kv_head, base, &mut scratch);
            for tile in 0..tiles {
                let rows = rows * tile / tiles..rows * (tile + 1) / tiles;
                self.tile(simd, kv_head, base, rows, &mut scratch);
            }
        }
        SCRATCH.set(scratch);
    }
}

impl Attention<'_> {
    /// Query heads that share a key head. A row of a tile is a query and one of them, in this order.
    #[inline(always)]
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// Keys of the sequence that a query sees.
    #[inline(always)]
    fn visible(&self, query: usize) -> Range<usize> {
        let end = self.total - self.tokens + query + 1;
        let start = self.shape.window.map_or(0, |window| end.saturating_sub(window.max(1)));
        start..end
    }

    /// Range of a row's query in `q` and of its result in `out`.
    #[inline(always)]
    fn place(&self, kv_head: usize, row: usize) -> Range<usize> {
        let group = self.group();
        let head = kv_head * group + row % group;
        let start = (row / group * self.shape.heads + head) * self.shape.head_dim;
        start..start + self.shape.head_dim
    }

    /// Packs the keys and values of a head from `base` on into panels.
    #[inline(always)]
    fn pack<S: Simd>(&self, _: S, kv_head: usize, base: usize, scratch: &mut Scratch) {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let span = self.total - base;
        let head = kv_head * head_dim..(kv_head + 1) * head_dim;
        let mut position = 0;
        for block in self.blocks {
            let keys = block.keys.chunks_exact(kv_heads * head_dim);
            let values = block.values.chunks_exact(kv_heads * head_dim);
            let skipped = base.saturating_sub(position).min(keys.len());
            position += skipped;
            for (key, value) in keys.zip(values).skip(skipped) {
                let at = position - base;
                let panel = &mut scratch.keys[at / PANEL * head_dim..][..head_dim];
                for (line, element) in panel.iter_mut().zip(&key[head.clone()]) {
                    line.0[at % PANEL] = *element;
                }
                for (panel, elements) in value[head.clone()].chunks(PANEL).enumerate() {
                    scratch.values[panel * span + at].0[..elements.len()].copy_from_slice(elements);
                }
                position += 1;
            }
        }
    }

    /// Attention of a tile of rows of a head.
    #[inline(always)]
    fn tile<S: Simd>(&mut self, simd: S, kv_head: usize, base: usize, rows: Range<usize>, scratch: &mut Scratch) {
        let AttentionShape { head_dim, .. } = self.shape;
        let (group, height) = (self.group(), rows.len());
        let seen = |row: usize| {
            let keys = self.visible(row / group);
            keys.start - base..keys.end - base
        };
        for (r, row) in rows.clone().enumerate() {
            for (stretch, elements) in self.q[self.place(kv_head, row)].chunks(KC).enumerate() {
                scratch.queries[(stretch * S::MR + r) * LEFT_STRIDE..][..elements.len()].copy_from_slice(elements);
            }
        }
        let all = seen(rows.start).start..seen(rows.end - 1).end;
        for panel in all.start / PANEL..all.end.div_ceil(PANEL) {
            let keys = &scratch.keys[panel * head_dim..][..head_dim];
            let result = scores(S::MR, panel * PANEL);
            let result = &mut scratch.scores[result..][..(height - 1) * LEFT_STRIDE + PANEL];
            let mut start = Start::Zero;
            for (queries, keys) in scratch.queries.chunks_exact(S::MR * LEFT_STRIDE).zip(keys.chunks(KC)) {
                let (left, right, depth) = (queries.as_ptr(), keys.as_ptr().cast::<f32>(), keys.len());
                let result = result.as_mut_ptr();
                let (right_stride, ahead) = (PANEL, AHEAD / size_of::<f32>());
                let result_stride = LEFT_STRIDE;
                let operands = Operands { left, right, right_stride, ahead, depth, start, result, result_stride };
                // SAFETY: the chunks hold `MR >= height` rows of `LEFT_STRIDE >= depth` and `depth` lines; the
                // result was sliced to what the rows cover.
                unsafe { simd.tile(height, operands) };
                start = Start::Result;
            }
        }
        let mut sums = [0.0; 16]; // at least `MR` of every level
        for ((r, row), sum) in rows.clone().enumerate().zip(&mut sums) {
            *sum = self.softmax(simd, S::MR, r, seen(row), &mut scratch.scores);
        }
        // Keys that all rows see are multiplied for all rows at once; those before and after, query by query.
        let common = seen(rows.end - 1).start..seen(rows.start).end;
        let first = rows.start;
        scratch.results.fill(0.0);
        if common.is_empty() {
            for (rows, query) in queries(&rows, group) {
                self.values(simd, rows.start - first..rows.end - first, seen(query * group), scratch);
            }
        } else {
            for (rows, query) in queries(&rows, group) {
                let before = seen(query * group).start..common.start;
                self.values(simd, rows.start - first..rows.end - first, before, scratch);
            }
            self.values(simd, 0..height, common.clone(), scratch);
            for (rows, query) in queries(&rows, group) {
                let after = common.end..seen(query * group).end;
                self.values(simd, rows.start - first..rows.end - first, after, scratch);
            }
        }
        let width = head_dim.div_ceil(PANEL) * PANEL;
        for ((result, row), sum) in scratch.results.chunks_exact(width).zip(rows).zip(sums) {
            let place = self.place(kv_head, row);
            let inverse = 1.0 / sum;
            for (out, value) in self.out[place].iter_mut().zip(result) {
                *out = value * inverse;
            }
        }
    }

    /// Replaces the scores of visible keys by unnormalised weights and returns their sum.
    #[inline(always)]
    fn softmax<S: Simd>(&self, simd: S, rows: usize, row: usize, seen: Range<usize>, memory: &mut [f32]) -> f32 {
        let scale = simd.splat(self.shape.scale);
        let mut max = simd.splat(f32::NEG_INFINITY);
        let groups = seen.start / LANES * LANES..seen.end;
        for first in groups.clone().step_by(LANES) {
            let Some(group) = group(memory, rows, row, first) else { break };
            let mut v = simd.mul(simd.load(group), scale);
            if let Some(cap) = self.shape.soft_cap {
                v = capped(simd, cap, v);
            }
            simd.store(v, group);
            if first < seen.start || first + LANES > seen.end {
                for (lane, score) in group.iter_mut().enumerate() {
                    if !seen.contains(&(first + lane)) {
                        *score = f32::NEG_INFINITY;
                    }
                }
                v = simd.load(group);
            }
            max = simd.max(max, v);
        }
        let max = simd.splat(simd.greatest(max));
        let mut sum = simd.splat(0.0);
        for first in groups.step_by(LANES) {
            let Some(group) = group(memory, rows, row, first) else { break };
            let weight = exp(simd, simd.sub(simd.load(group), max));
            simd.store(weight, group);
            sum = simd.add(sum, weight);
        }
        simd.sum(sum)
    }

    /// Adds the weighted values of some keys to the results of some rows of the tile.
    #[inline(always)]
    fn values<S: Simd>(&self, simd: S, rows: Range<usize>, keys: Range<usize>, scratch: &mut Scratch) {
        let panels = self.shape.head_dim.div_ceil(PANEL);
        let span = scratch.values.len() / panels;
        let result_stride = panels * PANEL;
        let mut first = keys.start;
        while first < keys.end {
            let depth = (KC - first % KC).min(keys.end - first);
            let weights = &scratch.scores[scores(S::MR, first) + rows.start * LEFT_STRIDE..];
            let weights = &weights[..(rows.len() - 1) * LEFT_STRIDE + depth];
            for panel in 0..panels {
                let values = &scratch.values[panel * span + first..][..depth];
                let result = rows.start * result_stride + panel * PANEL;
                let result = &mut scratch.results[result..][..(rows.len() - 1) * result_stride + PANEL];
                let operands = Operands {
                    left: weights.as_ptr(),
                    right: values.as_ptr().cast::<f32>(),
                    right_stride: PANEL,
                    ahead: AHEAD / size_of::<f32>(),
                    depth,
                    start: Start::Result,
                    result: result.as_mut_ptr(),
                    result_stride,
                };
                // SAFETY: weights, values and results were sliced to what the rows cover.
                unsafe { simd.tile(rows.len(), operands) };
            }
            first += depth;
        }
    }
}

/// Index of the first row's score of a key in the scratch.
#[inline(always)]
fn scores(rows: usize, key: usize) -> usize {
    key / KC * rows * LEFT_STRIDE + key % KC
}

/// Sixteen scores of a row from key `first` on, a multiple of sixteen.
#[inline(always)]
fn group(memory: &mut [f32], rows: usize, row: usize, first: usize) -> Option<&mut Group> {
    memory.get_mut(scores(rows, first) + row * LEFT_STRIDE..)?.first_chunk_mut()
}

/// Ranges of rows that belong to one query, with the query.
#[inline(always)]
fn queries(rows: &Range<usize>, group: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
    let rows = rows.clone();
    (rows.start / group..rows.end.div_ceil(group))
        .map(move |query| ((query * group).max(rows.start)..((query + 1) * group).min(rows.end), query))
}
