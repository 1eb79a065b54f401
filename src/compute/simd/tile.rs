//! GEMM micro-kernel: C += A B on a register tile of up to [`Simd::MR`] rows by 32 columns (Goto and van de Geijn 2008;
//! BLIS, Van Zee and van de Geijn 2015).
//!
//! A is f32 with rows [`LEFT_STRIDE`] apart, B a packed panel of f32, bf16 or f16 lines. Each element of C is one FMA loop
//! over k ascending, one rounding a step: neither the height of the tile, nor the blocking around it, nor the
//! instruction set changes its bits. It is part of the SIMD trait since the register blocking is what differs from
//! one instruction set to the next.

use super::operands::{LEFT_STRIDE, Operands, PANEL, Start};
use super::vector::{Element, LANES, Simd};

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
