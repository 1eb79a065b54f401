//! Forward GEMM on a packed weight: `Y[m, n] = X[m, k] W[n, k]^T + b`.
//!
//! Three loops around the macro-kernel: blocks of rows, blocks of k, panels of 32 outputs. Rows are packed once a block
//! of k; the weight is packed when the model is loaded ([`super::PackedMatrix`]).

use std::mem::MaybeUninit;

use super::fma_loop::FmaLoop;
use super::gemm_kernel::{GemmTask, MacroKernel, PACKED_ROWS, Panel, Rows, Shape, block_of, run_cold};
use crate::compute::simd::{Element, Line, PANEL, Simd, Start, Task};

/// One product, which writes all of `out`.
pub(super) struct Forward<'a, E> {
    pub shape: Shape,
    pub x: &'a [f32],
    pub lines: &'a [Line<E>],
    pub bias: Option<&'a [f32]>,
    pub out: &'a mut [MaybeUninit<f32>],
}

impl<E: Element> Task for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.run_with(FmaLoop(simd));
    }
}

impl<E: Element> GemmTask for Forward<'_, E> {
    #[inline(always)]
    fn run_with<K: MacroKernel>(self, kernel: K) {
        let Self { shape: Shape { m, n, k }, x, lines, bias, out } = self;
        if k == 0 {
            out.fill(MaybeUninit::new(0.0));
            add_bias(bias, out);
            return;
        }
        let mut packed = PACKED_ROWS.take();
        let block = block_of(m, K::MC_FORWARD, K::K_ALIGN);
        let longest = k.div_ceil(k.div_ceil(K::KC)).next_multiple_of(K::K_ALIGN);
        for first in (0..m).step_by(block) {
            let height = block.min(m - first);
            let out = &mut out[first * n..(first + height) * n];
            packed.non_finite.clear();
            for depth in (0..k).step_by(longest) {
                let length = longest.min(k - depth);
                kernel.pack_rows(&mut packed, Rows { x, width: k, first, height, depth, length });
                let start = if depth == 0 { Start::Zero } else { Start::Result };
                for (panel, all) in lines.chunks_exact(k).enumerate() {
                    let next = lines.get((panel + 1) * k + depth..).and_then(|l| l.get(..length)).unwrap_or(&[]);
                    let lines = &all[depth..depth + length];
                    let panel = Panel { lines, next, height, start, n, column: panel * PANEL };
                    kernel.multiply(&mut packed, panel, out);
                }
            }
            for row in std::mem::take(&mut packed.non_finite) {
                let shape = Shape { m: 1, n, k };
                let (x, out) = (&x[(first + row) * k..][..k], &mut out[row * n..][..n]);
                run_cold(kernel.simd(), Forward { shape, x, lines, bias: None, out });
            }
            add_bias(bias, out);
        }
        PACKED_ROWS.set(packed);
    }
}

/// Adds the bias to written results.
#[inline(always)]
fn add_bias(bias: Option<&[f32]>, out: &mut [MaybeUninit<f32>]) {
    if let Some(bias) = bias {
        for row in out.chunks_exact_mut(bias.len()) {
            for (result, bias) in row.iter_mut().zip(bias) {
                // SAFETY: the macro-kernel has written every result of the block.
                result.write(unsafe { result.assume_init() } + bias);
            }
        }
    }
}
