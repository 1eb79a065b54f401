//! Gated activations, norms and rotary embeddings: the formulas in f64.

use super::elementary::erf_series;
use super::inputs::{at_all_levels, random};
use crate::compute::nn::Activation;
use crate::compute::nn::activation::gated_at;
use crate::compute::nn::norm::rms_norm_at;
use crate::compute::nn::rotary::rotate_at;

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
