//! GEMM of plain row-major matrices, one thread: `out = scale * lhs rhs`, which only the trainer needs.
//!
//! Each element of the result is one FMA loop over the inner extent, ascending, from zero or from the value of `out`,
//! whatever the blocking and the instruction set. Both operands are packed for the register tile of [`crate::compute::simd`],
//! as in Goto and van de Geijn (2008): a block of `lhs` rows, and panels of 32 `rhs` columns.

use std::cell::Cell;

use super::gemm_kernel::Edge;
use super::uninit::as_uninit;
use crate::compute::simd::{AHEAD, KC, LANES, LEFT_STRIDE, Level, Line, Operands, PANEL, Simd, Start, Task};

/// Rows of a block of the left operand, whose packed form stays in the second-level cache (BLIS's `MC`).
const MC: usize = 128;
/// Columns of the right operand that are packed at a time (BLIS's `NC`) at the longest block of k; more at shorter ones.
const NC: usize = 16 * PANEL;

/// A strided, possibly transposed matrix in a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    /// Extents in memory: rows of `columns` values, `stride` apart.
    rows: usize,
    columns: usize,
    stride: usize,
    /// Whether the view is of the transposed matrix.
    transposed: bool,
}

impl<'a> View<'a> {
    /// Views rows of `columns` values, `stride` apart.
    #[must_use]
    pub(crate) fn rows(data: &'a [f32], columns: usize, stride: usize) -> Self {
        let rows = if columns == 0 || data.len() < columns { 0 } else { (data.len() - columns) / stride.max(1) + 1 };
        Self { data, rows, columns, stride, transposed: false }
    }

    /// Transposes the view.
    #[must_use]
    pub(crate) fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// Returns rows and columns.
    fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    /// Returns `length` values of a row in memory, from column `first` on.
    #[inline(always)]
    fn line(&self, row: usize, first: usize, length: usize) -> &'a [f32] {
        &self.data[row * self.stride + first..][..length]
    }
}

/// `out = scale * lhs rhs`, or `out += scale * lhs rhs` if `accumulate`; rows of `out` are `stride` apart. The scale is
/// multiplied into `lhs` first (a power of two into either operand, which is the same).
///
/// # Panics
/// When the shapes do not fit together.
pub(crate) fn multiply(lhs: View<'_>, rhs: View<'_>, scale: f32, accumulate: bool, out: &mut [f32], stride: usize) {
    multiply_at(Level::detected(), lhs, rhs, scale, accumulate, out, stride);
}

pub(crate) fn multiply_at(
    level: Level,
    lhs: View<'_>,
    rhs: View<'_>,
    scale: f32,
    accumulate: bool,
    out: &mut [f32],
    stride: usize,
) {
    let ((m, k), (inner, n)) = (lhs.shape(), rhs.shape());
    assert_eq!(k, inner, "inner extents of a product");
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= stride.max(n) && (m - 1) * stride + n <= out.len(), "operands");
    if k == 0 {
        if !accumulate {
            out.chunks_mut(stride.max(n)).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    // A tall result of few columns leaves most of a panel idle: its transpose is wide, and two to three times as fast with
    // 8 or 16 columns. The FMA loops are the same.
    if n < PANEL && m > n {
        let mut transposed = vec![0.0; n * m];
        if accumulate {
            for (column, row) in transposed.chunks_exact_mut(m).enumerate() {
                row.iter_mut().enumerate().for_each(|(r, value)| *value = out[r * stride + column]);
            }
        }
        // A power of two may move to the other factor of each product without changing a bit; the long operand then need
        // not be packed for its sake.
        let (short, long) = if is_power_of_two(scale) { (scale, 1.0) } else { (1.0, scale) };
        let (lhs, rhs) = (Scaled { view: rhs.t(), scale: short }, Scaled { view: lhs.t(), scale: long });
        level.run(Gemm { lhs, rhs, accumulate, out: &mut transposed, stride: m });
        for (column, row) in transposed.chunks_exact(m).enumerate() {
            row.iter().enumerate().for_each(|(r, value)| out[r * stride + column] = *value);
        }
        return;
    }
    let (lhs, rhs) = (Scaled { view: lhs, scale }, Scaled { view: rhs, scale: 1.0 });
    level.run(Gemm { lhs, rhs, accumulate, out, stride });
}

/// Whether the significand is 1: multiplying by it is exact short of overflow and of subnormal numbers.
fn is_power_of_two(value: f32) -> bool {
    value.is_normal() && value.to_bits().trailing_zeros() >= f32::MANTISSA_DIGITS - 1
}

/// A matrix with a factor that packing multiplies in.
#[derive(Clone, Copy)]
struct Scaled<'a> {
    view: View<'a>,
    scale: f32,
}

/// One product with an inner extent above 0.
struct Gemm<'a> {
    lhs: Scaled<'a>,
    rhs: Scaled<'a>,
    accumulate: bool,
    out: &'a mut [f32],
    stride: usize,
}

/// Packed operands; kept from product to product.
#[derive(Default)]
struct Packed {
    /// Rows of the left operand, [`LEFT_STRIDE`] apart.
    rows: Vec<f32>,
    /// Panels of the right operand, each over the whole block of k.
    panels: Vec<Line<f32>>,
}

thread_local! {
    static PACKED: Cell<Packed> = Cell::default();
}

/// A block of the inner extent.
#[derive(Clone, Copy)]
struct KBlock {
    first: usize,
    length: usize,
}

impl KBlock {
    /// Lines of a packed panel, in whole transposed blocks.
    fn lines(self) -> usize {
        self.length.next_multiple_of(PANEL)
    }
}

impl Task for Gemm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { lhs, rhs, accumulate, out, stride } = self;
        let ((m, k), (_, n)) = (lhs.view.shape(), rhs.view.shape());
        let mut packed = PACKED.take();
        // Few rows use each panel once or twice: reading it where it lies costs less than packing it.
        let in_place = m <= 2 * S::MR && !rhs.view.transposed && rhs.scale == 1.0;
        let longest = k.div_ceil(k.div_ceil(KC));
        // A short inner extent (a LoRA rank) leaves memory for more columns, and so for longer runs of results.
        let columns = NC * KC / longest.next_multiple_of(PANEL) / PANEL * PANEL;
        for first in (0..k).step_by(longest) {
            let depth = KBlock { first, length: longest.min(k - first) };
            let start = if first == 0 && !accumulate { Start::Zero } else { Start::Result };
            for column in (0..n).step_by(columns) {
                let width = columns.min(n - column);
                let unpacked = if in_place { width / PANEL } else { 0 };
                pack_panels(simd, rhs, depth, column + unpacked * PANEL, width - unpacked * PANEL, &mut packed.panels);
                for row in (0..m).step_by(MC) {
                    let height = MC.min(m - row);
                    pack_rows(simd, lhs, depth, row, height, &mut packed.rows);
                    let block = Block { rows: &packed.rows, height, start, stride };
                    let panels = width.div_ceil(PANEL);
                    let panel = |index: usize| {
                        let width = PANEL.min(width - index * PANEL);
                        if index < unpacked {
                            Panel::in_place(rhs.view, depth, column + index * PANEL)
                        } else {
                            let first = (index - unpacked) * depth.lines();
                            Panel::packed(&packed.panels[first..first + depth.length], width)
                        }
                    };
                    let out = &mut out[row * stride + column..];
                    if depth.length <= SHORT {
                        // Results are most of the memory traffic: rows of tiles outermost, so that they are written in
                        // runs as long as the rows.
                        for tile in 0..block.tiles::<S>() {
                            for index in 0..panels {
                                block.multiply(simd, tile, panel(index), &mut out[index * PANEL..]);
                            }
                        }
                    } else {
                        for index in 0..panels {
                            for tile in 0..block.tiles::<S>() {
                                block.multiply(simd, tile, panel(index), &mut out[index * PANEL..]);
                            }
                        }
                    }
                }
            }
        }
        PACKED.set(packed);
    }
}

/// Longest block of k for which the results are most of the memory traffic.
const SHORT: usize = 64;

/// A block of k of a panel of the right operand.
#[derive(Clone, Copy)]
struct Panel<'a> {
    /// From the panel's first element on, lines `stride` apart.
    data: &'a [f32],
    stride: usize,
    depth: usize,
    /// Columns that are not padding.
    width: usize,
    /// Prefetch distance in elements.
    ahead: usize,
}

impl<'a> Panel<'a> {
    /// A packed panel.
    #[inline(always)]
    fn packed(lines: &'a [Line<f32>], width: usize) -> Self {
        // SAFETY: a line is 32 `f32` without padding.
        let data = unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * PANEL) };
        Self { data, stride: PANEL, depth: lines.len(), width, ahead: AHEAD / size_of::<f32>() }
    }

    /// Thirty-two columns of a matrix; prefetches the next ones.
    #[inline(always)]
    fn in_place(view: View<'a>, depth: KBlock, column: usize) -> Self {
        let data = &view.data[depth.first * view.stride + column..];
        Self { data, stride: view.stride, depth: depth.length, width: PANEL, ahead: PANEL }
    }
}

/// Packed rows, and the layout of their results.
#[derive(Clone, Copy)]
struct Block<'a> {
    rows: &'a [f32],
    height: usize,
    start: Start,
    /// Distance of the result's rows.
    stride: usize,
}

impl Block<'_> {
    #[inline(always)]
    fn tiles<S: Simd>(self) -> usize {
        self.height.div_ceil(S::MR)
    }

    /// Multiplies one tile of rows by a panel; `out` begins with the first result of the block.
    #[inline(always)]
    fn multiply<S: Simd>(self, simd: S, tile: usize, panel: Panel<'_>, out: &mut [f32]) {
        let Self { rows, height, start, stride } = self;
        let Panel { data, stride: right_stride, depth, width, ahead } = panel;
        // Tiles about equally tall: a last tile of one row would leave most FMA units idle.
        let tiles = self.tiles::<S>();
        let (first, end) = (height * tile / tiles, height * (tile + 1) / tiles);
        assert!(depth <= KC && end * LEFT_STRIDE <= rows.len() && (end - 1) * stride + width <= out.len());
        assert!((depth - 1) * right_stride + PANEL <= data.len());
        let (left, right, height) = (rows[first * LEFT_STRIDE..].as_ptr(), data.as_ptr(), end - first);
        let out = as_uninit(&mut out[first * stride..]);
        if width == PANEL {
            let (result, result_stride) = (out.as_mut_ptr().cast(), stride);
            let operands = Operands { left, right, right_stride, ahead, depth, start, result, result_stride };
            // SAFETY: the assertions above cover `depth` elements of the rows, the panel's lines, and its columns in each
            // row of the result, which is borrowed mutably.
            unsafe { simd.tile(height, operands) };
        } else {
            let mut edge = Edge::<16>::load(out, stride, height, width);
            let (result, result_stride) = (edge.as_mut_ptr(), PANEL);
            let operands = Operands { left, right, right_stride, ahead, depth, start, result, result_stride };
            // SAFETY: as above; the copy has whole lines, and at least `MR` rows at every level.
            unsafe { simd.tile(height, operands) };
            edge.store(out, stride, height, width);
        }
    }
}

/// Copies up to 32 values, the rest zero.
#[inline(always)]
fn padded(from: &[f32]) -> Line<f32> {
    // Of a length known to the compiler, this is two loads and two stores instead of a call.
    if let Some(whole) = from.first_chunk() {
        return Line(*whole);
    }
    let mut line = Line([0.0; PANEL]);
    line.0[..from.len()].copy_from_slice(from);
    line
}

/// Copies sixteen lines of up to 32 values each, those beyond `lines` zero.
#[inline(always)]
fn gather<'a>(mut lines: impl Iterator<Item = &'a [f32]>) -> [Line<f32>; LANES] {
    std::array::from_fn(|_| padded(lines.next().unwrap_or(&[])))
}

/// Packs `width` columns of the right operand from `column` on, in panels of 32, the last filled up with zeros.
#[inline(always)]
fn pack_panels<S: Simd>(
    simd: S,
    rhs: Scaled<'_>,
    depth: KBlock,
    column: usize,
    width: usize,
    panels: &mut Vec<Line<f32>>,
) {
    let Scaled { view, scale } = rhs;
    let count = width.div_ceil(PANEL);
    panels.resize(panels.len().max(count * depth.lines()), Line([0.0; PANEL]));
    let factor = simd.splat(scale);
    for (index, panel) in panels.chunks_exact_mut(depth.lines()).take(count).enumerate() {
        let first = column + index * PANEL;
        let width = PANEL.min(column + width - first);
        if !view.transposed {
            for (at, line) in panel[..depth.length].iter_mut().enumerate() {
                *line = padded(view.line(depth.first + at, first, width));
                if scale != 1.0 {
                    line.0.iter_mut().for_each(|value| *value *= scale);
                }
            }
            continue;
        }
        // Columns lie as rows: blocks of sixteen columns at 32 depths are transposed.
        for (at, block) in panel.chunks_exact_mut(PANEL).enumerate() {
            let (start, length) = (depth.first + at * PANEL, PANEL.min(depth.length - at * PANEL));
            for group in 0..PANEL / LANES {
                let columns = first + group * LANES..first + width.min((group + 1) * LANES).max(group * LANES);
                let lines = gather(columns.map(|column| view.line(column, start, length)));
                for (half, block) in block.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    for (vector, line) in simd.transpose(&lines, half).into_iter().zip(block) {
                        simd.store(simd.mul(vector, factor), &mut line.0.as_chunks_mut().0[group]);
                    }
                }
            }
        }
    }
}

/// Packs `height` rows of the left operand from `row` on, [`LEFT_STRIDE`] apart.
#[inline(always)]
fn pack_rows<S: Simd>(simd: S, lhs: Scaled<'_>, depth: KBlock, row: usize, height: usize, rows: &mut Vec<f32>) {
    let Scaled { view, scale } = lhs;
    rows.resize(rows.len().max(height.next_multiple_of(PANEL) * LEFT_STRIDE), 0.0);
    if !view.transposed {
        for (r, to) in rows.chunks_exact_mut(LEFT_STRIDE).take(height).enumerate() {
            let to = &mut to[..depth.length];
            to.copy_from_slice(view.line(row + r, depth.first, depth.length));
            if scale != 1.0 {
                for value in to.iter_mut() {
                    *value *= scale;
                }
            }
        }
        return;
    }
    // Rows lie as columns: blocks of 32 rows at sixteen depths are transposed. Values beyond the depth are never read.
    let factor = simd.splat(scale);
    for (at, rows) in rows.chunks_exact_mut(PANEL * LEFT_STRIDE).take(height.div_ceil(PANEL)).enumerate() {
        let (first, count) = (row + at * PANEL, PANEL.min(height - at * PANEL));
        for start in (0..depth.length).step_by(LANES) {
            let depths = depth.first + start..depth.first + depth.length.min(start + LANES);
            let lines = gather(depths.map(|depth| view.line(depth, first, count)));
            for (half, rows) in rows.chunks_exact_mut(LANES * LEFT_STRIDE).enumerate() {
                for (vector, to) in simd.transpose(&lines, half).into_iter().zip(rows.chunks_exact_mut(LEFT_STRIDE)) {
                    if let Some(to) = to[start..].first_chunk_mut() {
                        simd.store(simd.mul(vector, factor), to);
                    }
                }
            }
        }
    }
}
