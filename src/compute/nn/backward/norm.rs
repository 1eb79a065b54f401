//! Gradient of the root-mean-square norm.

use crate::compute::nn::norm::{dot, sum_of_squares};
use crate::compute::simd::{Level, Simd, Task};

/// Gradients of [`rms_norm`](crate::compute::nn::rms_norm): of its input into `dx`, and of its weight
/// added to `dweight` if wanted.
///
/// # Panics
/// When the lengths do not fit together.
pub(crate) fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    offset: f32,
    eps: f32,
    dout: &[f32],
    dx: &mut [f32],
    dweight: Option<&mut [f32]>,
) {
    assert!(x.len() == dout.len() && x.len() == dx.len(), "a gradient for each element");
    if weight.is_empty() {
        return;
    }
    assert_eq!(x.len() % weight.len(), 0, "whole rows");
    assert!(dweight.as_ref().is_none_or(|dw| dw.len() == weight.len()), "a gradient for each factor");
    let factors: Vec<f32> = weight.iter().map(|w| offset + w).collect();
    Level::detected().run(Backward { x, factors: &factors, eps, dout, dx, dweight });
}

struct Backward<'a> {
    x: &'a [f32],
    factors: &'a [f32],
    eps: f32,
    dout: &'a [f32],
    dx: &'a mut [f32],
    dweight: Option<&'a mut [f32]>,
}

impl Task for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, factors, eps, dout, dx, mut dweight } = self;
        let width = factors.len();
        let rows = x.chunks_exact(width).zip(dout.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for ((x, dout), dx) in rows {
            let inverse = 1.0 / (sum_of_squares(simd, x) / width as f32 + eps).sqrt();
            for ((dx, dout), factor) in dx.iter_mut().zip(dout).zip(factors) {
                *dx = dout * factor;
            }
            // With g = dout * factors and r = inverse: dx = r g - x r^3 (g . x) / n.
            let along = dot(simd, dx, x) * inverse * inverse * inverse / width as f32;
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = *dx * inverse - x * along;
            }
            if let Some(dweight) = dweight.as_deref_mut() {
                for ((dw, dout), x) in dweight.iter_mut().zip(dout).zip(x) {
                    *dw += dout * (x * inverse);
                }
            }
        }
    }
}
