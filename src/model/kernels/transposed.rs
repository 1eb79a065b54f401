//! Rows times a packed weight, the other way round: from outputs back to inputs.
//!
//! The panels hold what is wanted, but across: 32 outputs of a panel at 32 depths are a block of the weight that,
//! turned over, is 32 lines of the product back. A stretch of such lines is turned once and then meets all
//! rows of a block, so that the weight need not be stored a second time.

use std::cell::Cell;
use std::mem::MaybeUninit;

use super::matmul::{Block, ROWS, Shape};
use super::packed::Line;
use super::simd::{LANES, Simd, Task};
use super::tile::{DEPTH, Element, PANEL, STRIDE, Start};

/// Most rows of a block: many, since each block turns the whole weight, and 900 KiB of the second-level cache.
const BLOCK: usize = 336;

/// One product `out[m, k] = y[m, n] w[n, k]`.
pub(super) struct Product<'a, E> {
    /// Of the product forth.
    pub shape: Shape,
    pub y: &'a [f32],
    pub lines: &'a [Line<E>],
    /// All of which is written.
    pub out: &'a mut [MaybeUninit<f32>],
}

thread_local! {
    /// Lines of the weight turned over; kept from product to product.
    static TURNED: Cell<Vec<Line<f32>>> = const { Cell::new(Vec::new()) };
}

impl<E: Element> Task for Product<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { shape: Shape { m, n, k }, y, lines, out } = self;
        if n == 0 || m == 0 {
            out.fill(MaybeUninit::new(0.0));
            return;
        }
        let mut rows = ROWS.take();
        let mut turned = TURNED.take();
        let block = m.div_ceil(m.div_ceil(BLOCK));
        // Stretches of even length in whole panels.
        let stretch = n.div_ceil(n.div_ceil(DEPTH)).next_multiple_of(PANEL);
        rows.resize(rows.len().max(block * STRIDE), 0.0);
        turned.resize(turned.len().max(stretch), Line([0.0; PANEL]));
        for first in (0..m).step_by(block) {
            let height = block.min(m - first);
            let out = &mut out[first * k..(first + height) * k];
            for output in (0..n).step_by(stretch) {
                let length = stretch.min(n - output);
                for (r, row) in rows.chunks_exact_mut(STRIDE).take(height).enumerate() {
                    let from = (first + r) * n + output;
                    row[..length].copy_from_slice(&y[from..from + length]);
                }
                let start = if output == 0 { Start::Zero } else { Start::Result };
                // The panels of the stretch, each over all inputs.
                let lines = &lines[output / PANEL * k..(output + length).div_ceil(PANEL) * k];
                for column in (0..k).step_by(PANEL) {
                    for (panel, turned) in lines.chunks_exact(k).zip(turned.as_chunks_mut().0) {
                        if let Some(lines) = panel[column..].first_chunk() {
                            turn(simd, lines, k, turned);
                        } else {
                            // Fewer inputs than a panel is wide: what fills it up enters no result.
                            let mut lines = [panel[column]; PANEL];
                            lines[..k - column].copy_from_slice(&panel[column..]);
                            turn(simd, &lines, k, turned);
                        }
                    }
                    let block = Block { rows: &rows, height, start, n: k, column };
                    block.multiply(simd, &turned[..length], out);
                }
            }
        }
        ROWS.set(rows);
        TURNED.set(turned);
    }
}

/// Turns 32 lines of a panel, one for each input, into one for each output, and asks for those `ahead` of them.
#[inline(always)]
fn turn<S: Simd, E: Element>(simd: S, from: &[Line<E>; PANEL], ahead: usize, to: &mut [Line<f32>; PANEL]) {
    let mut room = [Line([0.0; PANEL]); LANES];
    for (at, lines) in from.as_chunks().0.iter().enumerate() {
        for line in lines {
            simd.prefetch(std::ptr::from_ref(line).wrapping_add(ahead));
            if size_of::<E>() == 4 {
                simd.prefetch(std::ptr::from_ref(line).cast::<f32>().wrapping_add(ahead * PANEL + LANES));
            }
        }
        let lines = E::widened(simd, lines, &mut room);
        for (half, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            for (line, vector) in to.iter_mut().zip(simd.transpose(lines, half)) {
                simd.store(vector, &mut line.0.as_chunks_mut().0[at]);
            }
        }
    }
}
