//! Macro-kernel trait and operands of the forward and the backward GEMM on packed weights.
//!
//! Blocking as in Goto and van de Geijn (2008): blocks of `MC` rows whose packed form stays in the second-level cache,
//! blocks of `KC` along k, panels of 32 columns; the macro-kernel multiplies one packed block of rows by one panel.

use std::cell::Cell;
use std::mem::MaybeUninit;

use crate::compute::simd::{Element, Line, PANEL, Simd, Start, Task};

/// Extents of the forward product `out[m, n] = x[m, k] w[n, k]^T`.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Multiplies a packed block of rows by a block of a panel. The bits of a row of results depend on that row alone.
pub(super) trait MacroKernel: Copy {
    /// Instruction set of the loops around the kernel.
    type Simd: Simd;
    /// Most rows of a block in the forward product.
    const MC_FORWARD: usize;
    /// Most rows of a block in the backward product, where each block transposes the whole weight.
    const MC_BACKWARD: usize;
    /// Longest block of k.
    const KC: usize;
    /// Every block of k but the last is a multiple of this.
    const K_ALIGN: usize;

    fn simd(self) -> Self::Simd;
    /// Packs a block of rows.
    fn pack_rows(self, packed: &mut PackedRows, rows: Rows<'_>);
    /// Multiplies the packed rows by a panel: writes the panel's columns of `out`, the block's rows, and reads them only
    /// where the sums do not start at zero.
    fn multiply<E: Element>(self, packed: &mut PackedRows, panel: Panel<'_, E>, out: &mut [MaybeUninit<f32>]);
}

/// A GEMM on a packed weight that any macro-kernel runs.
pub(super) trait GemmTask: Task<Output = ()> {
    fn run_with<K: MacroKernel>(self, kernel: K);
}

/// Runs a product out of line: for rare rows, so that the loops that call it stay short.
#[cold]
#[inline(never)]
pub(super) fn run_cold<S: Simd>(simd: S, product: impl GemmTask) {
    simd.vectorize(product);
}

/// A block of k of a block of rows.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Row-major matrix, `width` values a row.
    pub x: &'a [f32],
    pub width: usize,
    /// First row of the block, and number of rows.
    pub first: usize,
    pub height: usize,
    /// First k of the block, and extent.
    pub depth: usize,
    pub length: usize,
}

impl<'a> Rows<'a> {
    /// The block's values of row `r`.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &'a [f32] {
        &self.x[(self.first + r) * self.width + self.depth..][..self.length]
    }
}

/// A block of k of a panel, and the place of its results.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a, E> {
    pub lines: &'a [Line<E>],
    /// Lines of the next call, to be prefetched.
    pub next: &'a [Line<E>],
    /// Rows of the block.
    pub height: usize,
    pub start: Start,
    /// Columns of the result, and the first one of the panel.
    pub n: usize,
    pub column: usize,
}

/// Copy of a tile of results that the edge of the matrix or of the block cuts off, in whole rows of [`PANEL`]: kernels
/// then need no masked loads and stores.
pub(super) struct Edge<const ROWS: usize>([[MaybeUninit<f32>; PANEL]; ROWS]);

impl<const ROWS: usize> Edge<ROWS> {
    /// Copies `rows` rows of `width` columns that begin at the start of `from`, `n` apart.
    #[inline(always)]
    pub(crate) fn load(from: &[MaybeUninit<f32>], n: usize, rows: usize, width: usize) -> Self {
        let mut edge = Self([[MaybeUninit::new(0.0); PANEL]; ROWS]);
        for (r, line) in edge.0.iter_mut().enumerate().take(rows) {
            line[..width].copy_from_slice(&from[r * n..r * n + width]);
        }
        edge
    }

    /// Pointer to rows of [`PANEL`] results.
    #[inline(always)]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    /// Copies the results back.
    #[inline(always)]
    pub(crate) fn store(&self, to: &mut [MaybeUninit<f32>], n: usize, rows: usize, width: usize) {
        for (r, line) in self.0.iter().enumerate().take(rows) {
            to[r * n..r * n + width].copy_from_slice(&line[..width]);
        }
    }
}

/// A packed block of rows; kept from product to product.
#[derive(Default)]
pub(super) struct PackedRows {
    /// f32 rows, [`crate::compute::simd::LEFT_STRIDE`] apart.
    pub rows: Vec<f32>,
    /// bf16x3 parts of the rows, and the panel in the same layout.
    pub parts: Vec<Bf16Tile>,
    pub panel: Vec<Bf16Tile>,
    /// Rows with an infinity or a NaN, which the bf16x3 split cannot represent.
    pub non_finite: Vec<usize>,
}

/// Sixteen rows of 32 bf16 values, or of sixteen pairs: one tile register.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Bf16Tile(pub [[u16; PANEL]; 16]);

thread_local! {
    pub(super) static PACKED_ROWS: Cell<PackedRows> = Cell::default();
}

/// Rows of a block: all blocks about equally tall, rather than a short last one.
pub(super) fn block_of(m: usize, most: usize, align: usize) -> usize {
    m.div_ceil(m.div_ceil(most).max(1)).max(1).next_multiple_of(align)
}
