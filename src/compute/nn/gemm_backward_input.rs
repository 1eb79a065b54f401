//! Backward GEMM for the input gradient: `dX[m, k] = dY[m, n] W[n, k]` on the packed layout of the forward pass.
//!
//! A panel holds 32 outputs for each k. 32 of its lines are a 32 x 32 block of `W`, which is transposed on the fly into
//! 32 lines over k; a block of n of such lines is transposed once and then meets all rows of a block. Training thus
//! needs no second, transposed copy of the weights.

use std::cell::Cell;
use std::mem::MaybeUninit;

use super::fma_loop::FmaLoop;
use super::gemm_kernel::{GemmTask, MacroKernel, PACKED_ROWS, Panel, Rows, Shape, block_of, run_cold};
use crate::compute::simd::{Element, LANES, Line, PANEL, Simd, Start, Task};

/// One product, which writes all of `dx`.
pub(super) struct BackwardInput<'a, E> {
    /// Extents of the forward product.
    pub shape: Shape,
    pub dy: &'a [f32],
    pub lines: &'a [Line<E>],
    pub dx: &'a mut [MaybeUninit<f32>],
}

thread_local! {
    /// Transposed lines of the weight; kept from product to product.
    static TRANSPOSED: Cell<Vec<Line<f32>>> = const { Cell::new(Vec::new()) };
}

impl<E: Element> Task for BackwardInput<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.run_with(FmaLoop(simd));
    }
}

impl<E: Element> GemmTask for BackwardInput<'_, E> {
    #[inline(always)]
    fn run_with<K: MacroKernel>(self, kernel: K) {
        let Self { shape: Shape { m, n, k }, dy, lines, dx } = self;
        if n == 0 || m == 0 {
            dx.fill(MaybeUninit::new(0.0));
            return;
        }
        let mut packed = PACKED_ROWS.take();
        let mut transposed = TRANSPOSED.take();
        let block = block_of(m, K::MC_BACKWARD, K::K_ALIGN);
        // Blocks of about equal length, in whole panels.
        let longest = n.div_ceil(n.div_ceil(K::KC)).next_multiple_of(PANEL);
        transposed.resize(transposed.len().max(longest), Line([0.0; PANEL]));
        for first in (0..m).step_by(block) {
            let height = block.min(m - first);
            let dx = &mut dx[first * k..(first + height) * k];
            packed.non_finite.clear();
            for output in (0..n).step_by(longest) {
                let length = longest.min(n - output);
                kernel.pack_rows(&mut packed, Rows { x: dy, width: n, first, height, depth: output, length });
                let start = if output == 0 { Start::Zero } else { Start::Result };
                // The panels of the block of outputs, each over all of k.
                let lines = &lines[output / PANEL * k..(output + length).div_ceil(PANEL) * k];
                for column in (0..k).step_by(PANEL) {
                    for (panel, transposed) in lines.chunks_exact(k).zip(transposed.as_chunks_mut().0) {
                        if let Some(lines) = panel[column..].first_chunk() {
                            transpose_block(kernel.simd(), lines, k, transposed);
                        } else {
                            // Fewer columns than a panel has: the padding enters no result.
                            let mut lines = [panel[column]; PANEL];
                            lines[..k - column].copy_from_slice(&panel[column..]);
                            transpose_block(kernel.simd(), &lines, k, transposed);
                        }
                    }
                    let panel = Panel { lines: &transposed[..length], next: &[], height, start, n: k, column };
                    kernel.multiply(&mut packed, panel, dx);
                }
            }
            for row in std::mem::take(&mut packed.non_finite) {
                let shape = Shape { m: 1, n, k };
                let (dy, dx) = (&dy[(first + row) * n..][..n], &mut dx[row * k..][..k]);
                run_cold(kernel.simd(), BackwardInput { shape, dy, lines, dx });
            }
        }
        PACKED_ROWS.set(packed);
        TRANSPOSED.set(transposed);
    }
}

/// Transposes a 32 x 32 block of the weight, widened to f32, and prefetches the block `ahead` lines later.
#[inline(always)]
fn transpose_block<S: Simd, E: Element>(simd: S, from: &[Line<E>; PANEL], ahead: usize, to: &mut [Line<f32>; PANEL]) {
    let mut scratch = [Line([0.0; PANEL]); LANES];
    for (at, lines) in from.as_chunks().0.iter().enumerate() {
        for line in lines {
            simd.prefetch(std::ptr::from_ref(line).wrapping_add(ahead));
            if size_of::<E>() == 4 {
                simd.prefetch(std::ptr::from_ref(line).cast::<f32>().wrapping_add(ahead * PANEL + LANES));
            }
        }
        let lines = E::widened(simd, lines, &mut scratch);
        for (half, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            for (line, vector) in to.iter_mut().zip(simd.transpose(lines, half)) {
                simd.store(vector, &mut line.0.as_chunks_mut().0[at]);
            }
        }
    }
}
