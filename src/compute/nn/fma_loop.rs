//! Macro-kernel of f32 FMA loops: each result is one loop of fused multiply-adds over k ascending, from zero, the same bits
//! at every SIMD level.

use std::mem::MaybeUninit;

use super::gemm_kernel::{Edge, MacroKernel, PackedRows, Panel, Rows};
use crate::compute::simd::{AHEAD, Element, KC, LANES, LEFT_STRIDE, Operands, PANEL, Simd};

/// The register tile of a SIMD level, over all rows of a block.
#[derive(Clone, Copy)]
pub(crate) struct FmaLoop<S>(pub S);

impl<S: Simd> MacroKernel for FmaLoop<S> {
    type Simd = S;
    /// Eight of the tallest tiles, 290 KiB packed.
    const MC_FORWARD: usize = 112;
    /// 900 KiB of the second-level cache: the fewer blocks, the less often the weight is transposed.
    const MC_BACKWARD: usize = 336;
    const KC: usize = KC;
    const K_ALIGN: usize = 1;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }

    #[inline(always)]
    fn pack_rows(self, packed: &mut PackedRows, rows: Rows<'_>) {
        let Rows { height, length, .. } = rows;
        assert!(length <= KC);
        packed.rows.resize(packed.rows.len().max(height * LEFT_STRIDE), 0.0);
        for (r, to) in packed.rows.chunks_exact_mut(LEFT_STRIDE).take(height).enumerate() {
            to[..length].copy_from_slice(rows.row(r));
        }
    }

    #[inline(always)]
    fn multiply<E: Element>(self, packed: &mut PackedRows, panel: Panel<'_, E>, out: &mut [MaybeUninit<f32>]) {
        let simd = self.0;
        let Panel { lines, height, start, n, column, .. } = panel;
        let rows = packed.rows.as_slice();
        let width = PANEL.min(n - column);
        assert!(lines.len() <= KC && height * LEFT_STRIDE <= rows.len() && height * n <= out.len());
        let tiles = height.div_ceil(S::MR);
        let mut first = 0;
        for tile in 0..tiles {
            // Tiles about equally tall: a last tile of one row would leave most FMA units idle.
            let end = height * (tile + 1) / tiles;
            let height = end - first;
            // Prefetches the results of the next tile, which may come from memory.
            for row in end..(end + height).min(panel.height) {
                let result = out.as_ptr().wrapping_add(row * n + column);
                simd.prefetch(result);
                simd.prefetch(result.wrapping_add(LANES));
            }
            let left = rows[first * LEFT_STRIDE..].as_ptr();
            let (right, depth) = (lines.as_ptr().cast::<E>(), lines.len());
            let (right_stride, ahead) = (PANEL, AHEAD / size_of::<E>());
            let operands = |result: *mut f32, result_stride: usize| Operands {
                left,
                right,
                right_stride,
                ahead,
                depth,
                start,
                result,
                result_stride,
            };
            if width == PANEL {
                let result = out[first * n + column..].as_mut_ptr().cast();
                // SAFETY: the assertion above covers `depth` elements of the rows and the lines, and the panel's columns
                // in each row of the result, which is borrowed mutably.
                unsafe { simd.tile(height, operands(result, n)) };
            } else {
                let at = first * n + column;
                let mut edge = Edge::<16>::load(&out[at..], n, height, width);
                let result = edge.as_mut_ptr();
                // SAFETY: as above; the copy has whole lines, and at least `MR` rows at every level.
                unsafe { simd.tile(height, operands(result, PANEL)) };
                edge.store(&mut out[at..], n, height, width);
            }
            first = end;
        }
    }
}
