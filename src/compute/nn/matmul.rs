//! Rows of inputs times a packed weight.
//!
//! Around what multiplies a block of rows by a panel are three loops: blocks of rows that stay in the second-level
//! cache, stretches of depth, panels of outputs. Rows are first laid out as the multiplier wants them.

use std::cell::Cell;
use std::mem::MaybeUninit;

use super::chain::Chain;
use super::packed::Line;
use super::simd::{Simd, Task};
use super::tile::{Element, PANEL, Start};

/// Extents of `out[m, n] = x[m, k] w[n, k]^T`.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Multiplies a block of rows by a stretch of a panel. What it makes of a row depends on that row alone.
pub(super) trait Multiplier: Copy {
    /// The operations for what surrounds it.
    type Simd: Simd;
    /// Most rows of a block of a product forth, and of one back.
    const FORTH: usize;
    const BACK: usize;
    /// Longest stretch of depth.
    const DEPTH: usize;
    /// Stretches of depth are whole numbers of this, but for the last.
    const GRAIN: usize;

    fn simd(self) -> Self::Simd;
    /// Lays out the rows of a block.
    fn load(self, left: &mut Left, rows: Rows<'_>);
    /// Multiplies them: writes the panel's columns of `out`, the block's rows, and reads them only where the sums do
    /// not start at zero.
    fn multiply<E: Element>(self, left: &mut Left, panel: Panel<'_, E>, out: &mut [MaybeUninit<f32>]);
}

/// A product forth or back.
pub(super) trait WeightProduct: Task<Output = ()> {
    /// Runs it with a multiplier.
    fn run_with<M: Multiplier>(self, multiplier: M);
}

/// Runs a product away from the loops that call it, which it shall not make longer.
#[cold]
#[inline(never)]
pub(super) fn run_apart<S: Simd>(simd: S, product: impl WeightProduct) {
    simd.vectorize(product);
}

/// A stretch of the depth of a block of rows.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Row-major, `width` a row.
    pub x: &'a [f32],
    pub width: usize,
    /// The block's first row, and how many it has.
    pub first: usize,
    pub height: usize,
    /// Where the stretch begins, and how long it is.
    pub depth: usize,
    pub length: usize,
}

impl<'a> Rows<'a> {
    /// The stretch of one of its rows.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &'a [f32] {
        &self.x[(self.first + r) * self.width + self.depth..][..self.length]
    }
}

/// A stretch of a panel, and where its results go.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a, E> {
    pub lines: &'a [Line<E>],
    /// What will be asked for next.
    pub next: &'a [Line<E>],
    /// Rows of the block.
    pub height: usize,
    pub start: Start,
    /// Outputs of the whole matrix, and the first one of the panel.
    pub n: usize,
    pub column: usize,
}

/// The columns of a panel that are there, where the matrix or the block ends within it, in rows of their own.
pub(super) struct Edge<const ROWS: usize>([[MaybeUninit<f32>; PANEL]; ROWS]);

impl<const ROWS: usize> Edge<ROWS> {
    /// What stands in `rows` rows of `width` columns, the first of them at the start of `from`, `n` apart.
    #[inline(always)]
    pub(crate) fn load(from: &[MaybeUninit<f32>], n: usize, rows: usize, width: usize) -> Self {
        let mut edge = Self([[MaybeUninit::new(0.0); PANEL]; ROWS]);
        for (r, line) in edge.0.iter_mut().enumerate().take(rows) {
            line[..width].copy_from_slice(&from[r * n..r * n + width]);
        }
        edge
    }

    /// [`PANEL`] results a row.
    #[inline(always)]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    /// Puts them back.
    #[inline(always)]
    pub(crate) fn store(&self, to: &mut [MaybeUninit<f32>], n: usize, rows: usize, width: usize) {
        for (r, line) in self.0.iter().enumerate().take(rows) {
            to[r * n..r * n + width].copy_from_slice(&line[..width]);
        }
    }
}

/// Rows as multipliers hold them; kept from product to product.
#[derive(Default)]
pub(super) struct Left {
    /// [`super::tile::STRIDE`] apart.
    pub rows: Vec<f32>,
    /// Cut into parts, and the panel to go with them.
    pub parts: Vec<Parts>,
    pub panel: Vec<Parts>,
    /// Rows of the block that cannot be cut: they hold an infinity or a NaN.
    pub whole: Vec<usize>,
}

/// Sixteen rows of 32 bf16 values, or of sixteen pairs: what a tile register holds.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Parts(pub [[u16; PANEL]; 16]);

thread_local! {
    pub(super) static LEFT: Cell<Left> = Cell::default();
}

/// As many rows of `m` as a block has: blocks of even length, rather than a short last one.
pub(super) fn block_of(m: usize, most: usize, grain: usize) -> usize {
    m.div_ceil(m.div_ceil(most).max(1)).max(1).next_multiple_of(grain)
}

/// One product, which writes all of `out`.
pub(super) struct Product<'a, E> {
    pub shape: Shape,
    pub x: &'a [f32],
    pub lines: &'a [Line<E>],
    pub bias: Option<&'a [f32]>,
    pub out: &'a mut [MaybeUninit<f32>],
}

impl<E: Element> Task for Product<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.run_with(Chain(simd));
    }
}

impl<E: Element> WeightProduct for Product<'_, E> {
    #[inline(always)]
    fn run_with<M: Multiplier>(self, multiplier: M) {
        let Self { shape: Shape { m, n, k }, x, lines, bias, out } = self;
        if k == 0 {
            out.fill(MaybeUninit::new(0.0));
            add_bias(bias, out);
            return;
        }
        let mut left = LEFT.take();
        let block = block_of(m, M::FORTH, M::GRAIN);
        let stretch = k.div_ceil(k.div_ceil(M::DEPTH)).next_multiple_of(M::GRAIN);
        for first in (0..m).step_by(block) {
            let height = block.min(m - first);
            let out = &mut out[first * n..(first + height) * n];
            left.whole.clear();
            for depth in (0..k).step_by(stretch) {
                let length = stretch.min(k - depth);
                multiplier.load(&mut left, Rows { x, width: k, first, height, depth, length });
                let start = if depth == 0 { Start::Zero } else { Start::Result };
                for (panel, all) in lines.chunks_exact(k).enumerate() {
                    // Nothing is fetched ahead of the last panel's end.
                    let next = lines.get((panel + 1) * k + depth..).and_then(|l| l.get(..length)).unwrap_or(&[]);
                    let lines = &all[depth..depth + length];
                    let panel = Panel { lines, next, height, start, n, column: panel * PANEL };
                    multiplier.multiply(&mut left, panel, out);
                }
            }
            for row in std::mem::take(&mut left.whole) {
                let shape = Shape { m: 1, n, k };
                let (x, out) = (&x[(first + row) * k..][..k], &mut out[row * n..][..n]);
                run_apart(multiplier.simd(), Product { shape, x, lines, bias: None, out });
            }
            add_bias(bias, out);
        }
        LEFT.set(left);
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
