//! GEMM micro-kernel: C += A B on a register tile of up to [`Simd::MR`] rows by 32 columns (Goto and van de Geijn 2008;
//! BLIS, Van Zee and van de Geijn 2015).
//!
//! A is f32 with rows [`LEFT_STRIDE`] apart, B a packed panel of f32, bf16 or f16 lines. Each element of C is one FMA loop
//! over k ascending, one rounding a step: neither the height of the tile, nor the blocking around it, nor the
//! instruction set changes its bits. It is part of the SIMD trait since the register blocking is what differs from
//! one instruction set to the next.

use super::vector::{LANES, Simd};

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

/// Storage type of the right operand.
pub(crate) trait Element: Copy {
    /// Loads sixteen elements as f32.
    fn widen<S: Simd>(simd: S, from: &[Self; LANES]) -> S::V;
    /// Widens to f32 into `scratch`; f32 input is returned unchanged.
    #[inline(always)]
    fn widened<'a, S: Simd>(
        simd: S,
        lines: &'a [Line<Self>; LANES],
        scratch: &'a mut [Line<f32>; LANES],
    ) -> &'a [Line<f32>; LANES] {
        for (line, wide) in lines.iter().zip(&mut *scratch) {
            for (from, to) in line.0.as_chunks().0.iter().zip(wide.0.as_chunks_mut().0) {
                simd.store(Self::widen(simd, from), to);
            }
        }
        scratch
    }
}

/// bfloat16, the high half of an f32.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Bf16(pub u16);

/// IEEE 754 binary16.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F16(pub u16);

impl Element for f32 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self; LANES]) -> S::V {
        simd.load(from)
    }
    #[inline(always)]
    fn widened<'a, S: Simd>(
        _: S,
        lines: &'a [Line<Self>; LANES],
        _: &'a mut [Line<f32>; LANES],
    ) -> &'a [Line<f32>; LANES] {
        lines
    }
}

impl Element for Bf16 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self; LANES]) -> S::V {
        // SAFETY: a transparent wrapper of `u16`.
        simd.widen_bf16(unsafe { &*std::ptr::from_ref(from).cast() })
    }
}

impl Element for F16 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self; LANES]) -> S::V {
        // SAFETY: a transparent wrapper of `u16`.
        simd.widen_f16(unsafe { &*std::ptr::from_ref(from).cast() })
    }
}

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

/// A tile of `R` rows and `C` vectors, repeated over the panel's width.
pub(crate) struct Tile<E, const R: usize, const C: usize>(Operands<E>);

impl<E: Element, const R: usize, const C: usize> Tile<E, R, C> {
    /// # Safety
    /// As [`Operands`] says, with `R` rows.
    #[inline(always)]
    pub(crate) unsafe fn new(operands: Operands<E>) -> Self {
        Self(operands)
    }

    /// Computes the tile.
    #[inline(always)]
    pub(crate) fn run<S: Simd>(self, simd: S) {
        for first in (0..PANEL).step_by(C * LANES) {
            self.columns(simd, first);
        }
    }

    #[inline(always)]
    fn columns<S: Simd>(&self, simd: S, first: usize) {
        let Operands { left, right, right_stride, ahead, depth, start, result, result_stride } = self.0;
        let mut sums = [[simd.splat(0.0); C]; R];
        if matches!(start, Start::Result) {
            for (r, row) in sums.iter_mut().enumerate() {
                for (c, sum) in row.iter_mut().enumerate() {
                    // SAFETY: `Operands` covers the row's panel, of which this is one vector.
                    *sum = simd.load(unsafe { &*result.add(r * result_stride + first + c * LANES).cast() });
                }
            }
        }
        for k in 0..depth {
            let mut panel = [simd.splat(0.0); C];
            for (c, vector) in panel.iter_mut().enumerate() {
                // SAFETY: `Operands` covers `depth` rows of the panel.
                *vector = E::widen(simd, unsafe { &*right.add(k * right_stride + first + c * LANES).cast() });
            }
            simd.prefetch(right.wrapping_add(k * right_stride + first + ahead));
            if size_of::<E>() == 4 && C == 2 {
                simd.prefetch(right.wrapping_add(k * right_stride + first + ahead + LANES));
            }
            for (r, row) in sums.iter_mut().enumerate() {
                // SAFETY: `Operands` covers `depth` elements of each row.
                let factor = simd.splat(unsafe { *left.add(r * LEFT_STRIDE + k) });
                for (sum, vector) in row.iter_mut().zip(panel) {
                    *sum = simd.fma(factor, vector, *sum);
                }
            }
        }
        for (r, row) in sums.iter().enumerate() {
            for (c, sum) in row.iter().enumerate() {
                // SAFETY: `Operands` covers the row's panel and lets nothing else alias it.
                simd.store(*sum, unsafe { &mut *result.add(r * result_stride + first + c * LANES).cast() });
            }
        }
    }
}

/// Prefetch distance in a packed panel, in bytes.
pub(crate) const AHEAD: usize = 4096;
