//! Rotary position embedding.

use crate::compute::simd::{Level, Simd, Task};

/// Rotates the first `rotary_dim` elements of each head in place (Su et al. 2021), in the layout of `rotate_half`:
/// element `i` turns with element `i + rotary_dim / 2`.
///
/// `x` is `[t, heads * head_dim]`; `cos` and `sin` are `[t, rotary_dim / 2]`, any attention factor included.
///
/// # Panics
/// When the lengths do not fit together.
pub fn rotate(x: &mut [f32], heads: usize, head_dim: usize, rotary_dim: usize, cos: &[f32], sin: &[f32]) {
    rotate_at(Level::detected(), x, heads, head_dim, rotary_dim, cos, sin);
}

pub(crate) fn rotate_at(
    level: Level,
    x: &mut [f32],
    heads: usize,
    head_dim: usize,
    rotary_dim: usize,
    cos: &[f32],
    sin: &[f32],
) {
    let half = rotary_dim / 2;
    if half == 0 || heads * head_dim == 0 {
        return;
    }
    assert!(rotary_dim <= head_dim, "{rotary_dim} of {head_dim} elements rotate");
    let tokens = x.len() / (heads * head_dim);
    assert_eq!(x.len(), tokens * heads * head_dim, "whole tokens");
    assert!(cos.len() == tokens * half && sin.len() == tokens * half, "angles for each token");
    level.run(Rotation { x, heads, head_dim, half, cos, sin });
}

struct Rotation<'a> {
    x: &'a mut [f32],
    heads: usize,
    head_dim: usize,
    half: usize,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Task for Rotation<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, heads, head_dim, half, cos, sin } = self;
        let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
        for (token, (cos, sin)) in x.chunks_exact_mut(heads * head_dim).zip(angles) {
            for head in token.chunks_exact_mut(head_dim) {
                let (low, high) = head.split_at_mut(half);
                for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                    // Products rounded on their own, as transformers' eager code has them.
                    let (a, b) = (*low, *high);
                    *low = a * cos - b * sin;
                    *high = b * cos + a * sin;
                }
            }
        }
    }
}
