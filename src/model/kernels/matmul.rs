//! Rows of inputs times a packed weight.
//!
//! Around the tile are three loops: blocks of rows that stay in the second-level cache, stretches of
//! depth, panels of outputs. Rows are first copied to where a tile wants them.

use std::cell::Cell;
use std::mem::MaybeUninit;

use super::packed::Line;
use super::simd::{LANES, Simd, Task};
use super::tile::{DEPTH, Element, Operands, PANEL, STRIDE, Start};

/// Most rows of a block: eight of the tallest tiles, and 290 KiB.
const BLOCK: usize = 112;

/// Extents of `out[m, n] = x[m, k] w[n, k]^T`.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// One product, which writes all of `out`.
pub(super) struct Product<'a, E> {
    pub shape: Shape,
    pub x: &'a [f32],
    pub lines: &'a [Line<E>],
    pub bias: Option<&'a [f32]>,
    pub out: &'a mut [MaybeUninit<f32>],
}

thread_local! {
    /// Rows of the left operand, [`STRIDE`] apart; kept from product to product.
    pub(super) static ROWS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

impl<E: Element> Task for Product<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { shape: Shape { m, n, k }, x, lines, bias, out } = self;
        if k == 0 {
            out.fill(MaybeUninit::new(0.0));
            add_bias(bias, out);
            return;
        }
        let mut rows = ROWS.take();
        // Blocks and stretches of even length, rather than a short last one.
        let block = m.div_ceil(m.div_ceil(BLOCK).max(1)).max(1);
        let stretch = k.div_ceil(k.div_ceil(DEPTH));
        rows.resize(rows.len().max(block * STRIDE), 0.0);
        for first in (0..m).step_by(block) {
            let height = block.min(m - first);
            let out = &mut out[first * n..(first + height) * n];
            for depth in (0..k).step_by(stretch) {
                let length = stretch.min(k - depth);
                for (r, row) in rows.chunks_exact_mut(STRIDE).take(height).enumerate() {
                    let from = (first + r) * k + depth;
                    row[..length].copy_from_slice(&x[from..from + length]);
                }
                let start = if depth == 0 { Start::Zero } else { Start::Result };
                for (panel, lines) in lines.chunks_exact(k).enumerate() {
                    let lines = &lines[depth..depth + length];
                    let block = Block { rows: &rows, height, start, n, column: panel * PANEL };
                    block.multiply(simd, lines, out);
                }
            }
            add_bias(bias, out);
        }
        ROWS.set(rows);
    }
}

/// To results that have been written.
#[inline(always)]
fn add_bias(bias: Option<&[f32]>, out: &mut [MaybeUninit<f32>]) {
    if let Some(bias) = bias {
        for row in out.chunks_exact_mut(bias.len()) {
            for (result, bias) in row.iter_mut().zip(bias) {
                // SAFETY: it has been written.
                result.write(unsafe { result.assume_init() } + bias);
            }
        }
    }
}

/// A block of rows against one stretch of one panel: writes the panel's columns, and reads them only
/// where the chains do not start at zero.
pub(super) struct Block<'a> {
    /// [`STRIDE`] apart.
    pub rows: &'a [f32],
    pub height: usize,
    pub start: Start,
    /// Outputs of the whole matrix, and the first one of the panel.
    pub n: usize,
    pub column: usize,
}

impl Block<'_> {
    #[inline(always)]
    pub(super) fn multiply<S: Simd, E: Element>(&self, simd: S, lines: &[Line<E>], out: &mut [MaybeUninit<f32>]) {
        let Self { rows, height, start, n, column } = *self;
        let width = PANEL.min(n - column);
        assert!(lines.len() <= DEPTH && height * STRIDE <= rows.len() && height * n <= out.len());
        let tiles = height.div_ceil(S::ROWS);
        let mut first = 0;
        for tile in 0..tiles {
            // Heights as even as they come.
            let end = height * (tile + 1) / tiles;
            let height = end - first;
            // The next tile's results, so that it need not wait for them.
            for row in end..(end + height).min(self.height) {
                let result = out.as_ptr().wrapping_add(row * n + column);
                simd.prefetch(result);
                simd.prefetch(result.wrapping_add(LANES));
            }
            let left = rows[first * STRIDE..].as_ptr();
            let (right, depth) = (lines.as_ptr().cast::<E>(), lines.len());
            if width == PANEL {
                let result = out[first * n + column..].as_mut_ptr().cast();
                // SAFETY: by the assertion above, rows and lines are there for the whole depth, and so
                // are the panel's columns in each row of the result, which is borrowed for us alone.
                unsafe { simd.tile(height, Operands { left, right, depth, start, result, result_stride: n }) };
            } else {
                let mut edge = [[MaybeUninit::new(0.0); PANEL]; 16];
                let row = |r: usize| (first + r) * n + column;
                for (r, line) in edge.iter_mut().enumerate().take(height) {
                    line[..width].copy_from_slice(&out[row(r)..row(r) + width]);
                }
                let result = edge.as_mut_ptr().cast();
                // SAFETY: as above; the result is our own, and of as many rows as any level's tile.
                unsafe { simd.tile(height, Operands { left, right, depth, start, result, result_stride: PANEL }) };
                for (r, line) in edge.iter().enumerate().take(height) {
                    out[row(r)..row(r) + width].copy_from_slice(&line[..width]);
                }
            }
            first = end;
        }
    }
}
