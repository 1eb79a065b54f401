//! The register tile that all products are made of.
//!
//! A few rows times 32 columns, each element one chain of fused multiply-adds over `k` ascending:
//! nothing about the tile's height, the blocking around it or the instruction set reaches the bits.

use super::packed::Line;
use super::simd::{LANES, Simd};

/// Columns of a panel: what a tile is wide, and the distance of a panel's rows in elements.
pub(crate) const PANEL: usize = 32;
/// Longest stretch of `k` that one call of a tile covers.
pub(crate) const DEPTH: usize = 640;
/// Distance of the left operand's rows. A constant, so that all rows are reached from one address
/// register; an odd number of cache lines, so that they lie in different sets of the cache.
pub(crate) const STRIDE: usize = DEPTH + 16;

/// What the right operand is stored as.
pub(crate) trait Element: Copy {
    /// Sixteen of them as f32.
    fn widen<S: Simd>(simd: S, from: &[Self; LANES]) -> S::V;
    /// Lines as f32 in memory: in `room`, unless they are f32 as they lie.
    #[inline(always)]
    fn widened<'a, S: Simd>(
        simd: S,
        lines: &'a [Line<Self>; LANES],
        room: &'a mut [Line<f32>; LANES],
    ) -> &'a [Line<f32>; LANES] {
        for (line, wide) in lines.iter().zip(&mut *room) {
            for (from, to) in line.0.as_chunks().0.iter().zip(wide.0.as_chunks_mut().0) {
                simd.store(Self::widen(simd, from), to);
            }
        }
        room
    }
}

/// The high half of an f32.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Bf16(pub u16);

/// IEEE binary16.
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

/// Where a chain starts.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// At zero.
    Zero,
    /// At what the result holds: the chain of the depths before.
    Result,
}

/// The operands of one tile of `rows` rows and [`PANEL`] columns.
///
/// Whoever runs a tile vouches that `left` has `depth` elements readable in each of `rows` rows that
/// are [`STRIDE`] apart, `right` has `depth` rows of [`PANEL`] elements, and `result` has [`PANEL`]
/// elements, readable and writable and aliased by nothing, in each of `rows` rows that are
/// `result_stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Operands<E> {
    pub left: *const f32,
    pub right: *const E,
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

    /// Computes it.
    #[inline(always)]
    pub(crate) fn run<S: Simd>(self, simd: S) {
        for first in (0..PANEL).step_by(C * LANES) {
            self.columns(simd, first);
        }
    }

    #[inline(always)]
    fn columns<S: Simd>(&self, simd: S, first: usize) {
        let Operands { left, right, depth, start, result, result_stride } = self.0;
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
                *vector = E::widen(simd, unsafe { &*right.add(k * PANEL + first + c * LANES).cast() });
            }
            simd.prefetch(right.wrapping_add(k * PANEL + first + AHEAD / size_of::<E>()));
            if size_of::<E>() == 4 && C == 2 {
                simd.prefetch(right.wrapping_add(k * PANEL + first + AHEAD / size_of::<E>() + LANES));
            }
            for (r, row) in sums.iter_mut().enumerate() {
                // SAFETY: `Operands` covers `depth` elements of each row.
                let factor = simd.splat(unsafe { *left.add(r * STRIDE + k) });
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

/// Bytes of the panel that are asked for ahead of use.
const AHEAD: usize = 4096;
