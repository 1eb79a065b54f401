//! Operands of a register tile.

/// Columns of a panel (BLIS's `NR`), and the distance of a panel's lines in elements.
pub(crate) const PANEL: usize = 32;
/// Longest block of `k` that one call covers (BLIS's `KC`).
pub(crate) const KC: usize = 640;
/// Distance of the left operand's rows. A constant, so that all rows are reached from one address
/// register; an odd number of cache lines, so that they lie in different sets of the cache.
pub(crate) const LEFT_STRIDE: usize = KC + 16;

/// One `k` of a panel: the elements of [`PANEL`] columns, aligned to a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line<E>(pub [E; PANEL]);

/// Initial value of the sums (beta of BLAS, 0 or 1).
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// Zero.
    Zero,
    /// The result so far, of the blocks of `k` before.
    Result,
}

/// The operands of one tile of `rows` rows and [`PANEL`] columns.
///
/// The caller of a tile guarantees that `left` has `depth` readable elements in each of `rows` rows that are
/// [`LEFT_STRIDE`] apart, that `right` has [`PANEL`] elements in each of `depth` lines that are `right_stride` apart, and that `result` has [`PANEL`]
/// elements, readable and writable and aliased by nothing, in each of `rows` rows that are `result_stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Operands<E> {
    pub left: *const f32,
    pub right: *const E,
    pub right_stride: usize,
    /// Prefetch distance in the right operand, in elements.
    pub ahead: usize,
    pub depth: usize,
    pub start: Start,
    pub result: *mut f32,
    pub result_stride: usize,
}
