//! Products of weights as chains of fused multiply-adds, the same bits at every level.

use std::mem::MaybeUninit;

use super::matmul::{Edge, Left, Multiplier, Panel, Rows};
use super::simd::{LANES, Simd};
use super::tile::{DEPTH, Element, Operands, PANEL, STRIDE};

/// Each result is one chain over the depth, ascending, from zero.
#[derive(Clone, Copy)]
pub(crate) struct Chain<S>(pub S);

impl<S: Simd> Multiplier for Chain<S> {
    type Simd = S;
    /// Eight of the tallest tiles, and 290 KiB.
    const FORTH: usize = 112;
    /// Many, since each block turns the whole weight, and 900 KiB of the second-level cache.
    const BACK: usize = 336;
    const DEPTH: usize = DEPTH;
    const GRAIN: usize = 1;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }

    #[inline(always)]
    fn load(self, left: &mut Left, rows: Rows<'_>) {
        let Rows { height, length, .. } = rows;
        assert!(length <= DEPTH);
        left.rows.resize(left.rows.len().max(height * STRIDE), 0.0);
        for (r, to) in left.rows.chunks_exact_mut(STRIDE).take(height).enumerate() {
            to[..length].copy_from_slice(rows.row(r));
        }
    }

    #[inline(always)]
    fn multiply<E: Element>(self, left: &mut Left, panel: Panel<'_, E>, out: &mut [MaybeUninit<f32>]) {
        let simd = self.0;
        let Panel { lines, height, start, n, column, .. } = panel;
        let rows = left.rows.as_slice();
        let width = PANEL.min(n - column);
        assert!(lines.len() <= DEPTH && height * STRIDE <= rows.len() && height * n <= out.len());
        let tiles = height.div_ceil(S::ROWS);
        let mut first = 0;
        for tile in 0..tiles {
            // Heights as even as they come.
            let end = height * (tile + 1) / tiles;
            let height = end - first;
            // The next tile's results, so that it need not wait for them.
            for row in end..(end + height).min(panel.height) {
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
                let at = first * n + column;
                let mut edge = Edge::<16>::load(&out[at..], n, height, width);
                let result = edge.as_mut_ptr();
                // SAFETY: as above; the result is our own, and of as many rows as any level's tile.
                unsafe { simd.tile(height, Operands { left, right, depth, start, result, result_stride: PANEL }) };
                edge.store(&mut out[at..], n, height, width);
            }
            first = end;
        }
    }
}
