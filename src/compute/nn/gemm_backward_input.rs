//! Rows times a packed weight, the other way round: from outputs back to inputs.
//!
//! The panels hold what is wanted, but across: 32 outputs of a panel at 32 depths are a block of the weight that,
//! turned over, is 32 lines of the product back. A stretch of such lines is turned once and then meets all
//! rows of a block, so that the weight need not be stored a second time.

use std::cell::Cell;
use std::mem::MaybeUninit;

use super::chain::Chain;
use super::matmul::{LEFT, Multiplier, Panel, Rows, Shape, WeightProduct, block_of, run_apart};
use super::packed::Line;
use super::simd::{LANES, Simd, Task};
use super::tile::{Element, PANEL, Start};

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
        self.run_with(Chain(simd));
    }
}

impl<E: Element> WeightProduct for Product<'_, E> {
    #[inline(always)]
    fn run_with<M: Multiplier>(self, multiplier: M) {
        let Self { shape: Shape { m, n, k }, y, lines, out } = self;
        if n == 0 || m == 0 {
            out.fill(MaybeUninit::new(0.0));
            return;
        }
        let mut left = LEFT.take();
        let mut turned = TURNED.take();
        let block = block_of(m, M::BACK, M::GRAIN);
        // Stretches of even length in whole panels.
        let stretch = n.div_ceil(n.div_ceil(M::DEPTH)).next_multiple_of(PANEL);
        turned.resize(turned.len().max(stretch), Line([0.0; PANEL]));
        for first in (0..m).step_by(block) {
            let height = block.min(m - first);
            let out = &mut out[first * k..(first + height) * k];
            left.whole.clear();
            for output in (0..n).step_by(stretch) {
                let length = stretch.min(n - output);
                multiplier.load(&mut left, Rows { x: y, width: n, first, height, depth: output, length });
                let start = if output == 0 { Start::Zero } else { Start::Result };
                // The panels of the stretch, each over all inputs.
                let lines = &lines[output / PANEL * k..(output + length).div_ceil(PANEL) * k];
                for column in (0..k).step_by(PANEL) {
                    for (panel, turned) in lines.chunks_exact(k).zip(turned.as_chunks_mut().0) {
                        if let Some(lines) = panel[column..].first_chunk() {
                            turn(multiplier.simd(), lines, k, turned);
                        } else {
                            // Fewer inputs than a panel is wide: what fills it up enters no result.
                            let mut lines = [panel[column]; PANEL];
                            lines[..k - column].copy_from_slice(&panel[column..]);
                            turn(multiplier.simd(), &lines, k, turned);
                        }
                    }
                    let panel = Panel { lines: &turned[..length], next: &[], height, start, n: k, column };
                    multiplier.multiply(&mut left, panel, out);
                }
            }
            for row in std::mem::take(&mut left.whole) {
                let shape = Shape { m: 1, n, k };
                let (y, out) = (&y[(first + row) * n..][..n], &mut out[row * k..][..k]);
                run_apart(multiplier.simd(), Product { shape, y, lines, out });
            }
        }
        LEFT.set(left);
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
