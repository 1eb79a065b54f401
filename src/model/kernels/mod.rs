//! Slice kernels of the decoder: plain loops that say what the fast ones compute.
//!
//! Every kernel treats rows independently and adds in a fixed order, so that a row's result depends
//! neither on the rows beside it nor on how a chain of keys and values is cut into blocks.

use crate::dtype::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// How packed weights are stored; arithmetic is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits, exact for every checkpoint dtype but f64.
    #[default]
    F32,
    /// 16 bits with f32's range.
    Bf16,
    /// IEEE half precision.
    F16,
}

#[derive(Debug)]
enum Storage {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    F16(Vec<u16>),
}

/// A weight matrix `[n, k]` of `n` outputs.
#[derive(Debug)]
pub struct PackedMatrix {
    n: usize,
    k: usize,
    storage: Storage,
}

impl PackedMatrix {
    /// Packs rows that `fill(row, values)` writes one after the other.
    pub fn pack(n: usize, k: usize, precision: Precision, fill: &mut dyn FnMut(usize, &mut [f32])) -> Self {
        let mut row = vec![0.0_f32; k];
        let mut each = |store: &mut dyn FnMut(&[f32])| {
            for index in 0..n {
                fill(index, &mut row);
                store(&row);
            }
        };
        let storage = match precision {
            Precision::F32 => {
                let mut all = Vec::with_capacity(n * k);
                each(&mut |row| all.extend_from_slice(row));
                Storage::F32(all)
            }
            Precision::Bf16 => {
                let mut all = Vec::with_capacity(n * k);
                each(&mut |row| all.extend(row.iter().map(|&v| f32_to_bf16(v))));
                Storage::Bf16(all)
            }
            Precision::F16 => {
                let mut all = Vec::with_capacity(n * k);
                each(&mut |row| all.extend(row.iter().map(|&v| f32_to_f16(v))));
                Storage::F16(all)
            }
        };
        Self { n, k, storage }
    }

    /// Outputs.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes of the stored weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.storage {
            Storage::F32(all) => all.len() * 4,
            Storage::Bf16(all) | Storage::F16(all) => all.len() * 2,
        }
    }

    /// Writes one row as f32.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let range = row * self.k..(row + 1) * self.k;
        match &self.storage {
            Storage::F32(all) => out.copy_from_slice(&all[range]),
            Storage::Bf16(all) => out.iter_mut().zip(&all[range]).for_each(|(o, &v)| *o = bf16_to_f32(v)),
            Storage::F16(all) => out.iter_mut().zip(&all[range]).for_each(|(o, &v)| *o = f16_to_f32(v)),
        }
    }

    /// `out[m, n] = x[m, k] · self^T + bias`.
    pub fn matmul(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        let mut row = vec![0.0_f32; self.k];
        for index in 0..self.n {
            self.row(index, &mut row);
            for (x, out) in x.chunks_exact(self.k).zip(out.chunks_exact_mut(self.n)) {
                out[index] = dot(x, &row) + bias.map_or(0.0, |bias| bias[index]);
            }
        }
    }
}

/// Eight chains, added pairwise at the end.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    (lanes[0] + lanes[4]) + (lanes[1] + lanes[5]) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7])) + tail
}

/// A block of consecutive positions, `[tokens, kv_heads * head_dim]` each.
#[derive(Debug, Clone, Copy)]
pub struct KeyValues<'a> {
    /// Keys, rotated.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
}

/// What attention needs to know beside the tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Positions that a query sees, itself included.
    pub window: Option<usize>,
    /// `c` of `c * tanh(score / c)`.
    pub soft_cap: Option<f32>,
}

/// Causal attention of `t` queries `[t, heads * head_dim]`, the last `t` positions of the chain.
pub fn attention(shape: &AttentionShape, q: &[f32], chain: &[KeyValues<'_>], out: &mut [f32]) {
    let (d, width) = (shape.head_dim, shape.kv_heads * shape.head_dim);
    let keys: Vec<&[f32]> = chain.iter().flat_map(|block| block.keys.chunks_exact(width)).collect();
    let values: Vec<&[f32]> = chain.iter().flat_map(|block| block.values.chunks_exact(width)).collect();
    let t = q.len() / (shape.heads * d);
    let group = shape.heads / shape.kv_heads;
    let mut scores = Vec::new();
    for (index, (q, out)) in q.chunks_exact(shape.heads * d).zip(out.chunks_exact_mut(shape.heads * d)).enumerate() {
        let end = keys.len() - t + index + 1;
        let start = shape.window.map_or(0, |window| end.saturating_sub(window));
        for head in 0..shape.heads {
            let q = &q[head * d..][..d];
            let at = head / group * d;
            scores.clear();
            scores.extend(keys[start..end].iter().map(|key| {
                let score = dot(q, &key[at..][..d]) * shape.scale;
                shape.soft_cap.map_or(score, |cap| cap * (score / cap).tanh())
            }));
            let max = scores.iter().fold(f32::NEG_INFINITY, |max, &s| max.max(s));
            let mut sum = 0.0;
            for score in &mut scores {
                *score = (*score - max).exp();
                sum += *score;
            }
            let out = &mut out[head * d..][..d];
            out.fill(0.0);
            for (weight, value) in scores.iter().zip(&values[start..end]) {
                for (o, v) in out.iter_mut().zip(&value[at..][..d]) {
                    *o += weight * v;
                }
            }
            for o in out.iter_mut() {
                *o /= sum;
            }
        }
    }
}

/// Root-mean-square normalisation of rows of `weight.len()`, times `offset + weight`.
pub fn rms_norm(x: &[f32], weight: &[f32], offset: f32, eps: f32, out: &mut [f32]) {
    for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
        let mean = dot(x, x) / weight.len() as f32;
        let factor = 1.0 / (mean + eps).sqrt();
        for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
            *o = x * factor * (offset + w);
        }
    }
}

/// Rotates the first `rotary_dim` values of each head in place, half-split layout; `cos` and `sin`
/// are `[t, rotary_dim / 2]`.
pub fn rotate(x: &mut [f32], heads: usize, head_dim: usize, rotary_dim: usize, cos: &[f32], sin: &[f32]) {
    let half = rotary_dim / 2;
    for ((x, cos), sin) in x.chunks_exact_mut(heads * head_dim).zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half))
    {
        for head in x.chunks_exact_mut(head_dim) {
            for i in 0..half {
                let (a, b) = (head[i], head[i + half]);
                head[i] = a * cos[i] - b * sin[i];
                head[i + half] = b * cos[i] + a * sin[i];
            }
        }
    }
}

/// The nonlinearity of a gated feed-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU in its tanh approximation.
    GeluTanh,
    /// GELU by the error function.
    Gelu,
}

/// `out = activation(gate) * up`.
pub fn gated(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((o, &g), u) in out.iter_mut().zip(gate).zip(up) {
        let activated = match activation {
            Activation::Silu => g / (1.0 + (-g).exp()),
            Activation::GeluTanh => 0.5 * g * (1.0 + (0.797_884_6 * (g + 0.044_715 * g * g * g)).tanh()),
            Activation::Gelu => (0.5 * f64::from(g) * (1.0 + erf(f64::from(g) / std::f64::consts::SQRT_2))) as f32,
        };
        *o = activated * u;
    }
}

/// The error function by its Taylor series, or 1 less a continued fraction far out.
fn erf(x: f64) -> f64 {
    if x.abs() > 3.0 {
        let z = x.abs();
        let fraction = (1..=60).rev().fold(z, |f, n| z + f64::from(n) / 2.0 / f);
        return x.signum() * (1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt()));
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// Natural-log probability of `token` in one row of logits, and whether it is the first largest.
#[must_use]
pub fn log_softmax_at(logits: &[f32], token: u32) -> (f64, bool) {
    let (mut best, mut max) = (0, f32::NEG_INFINITY);
    for (index, &logit) in logits.iter().enumerate() {
        if logit > max {
            (best, max) = (index, logit);
        }
    }
    let sum: f64 = logits.iter().map(|&l| f64::from((l - max).exp())).sum();
    let token = token as usize;
    let logit = logits.get(token).copied().unwrap_or(f32::NAN);
    (f64::from(logit - max) - sum.ln(), token == best)
}
