//! GEMM of plain matrices, every combination of transposition, scale and accumulation.

use super::inputs::{at_all_levels, random};
use crate::compute::nn::View;
use crate::compute::nn::gemm::multiply_at;

/// The trainer's products: what the `gemm` crate made of them depended on the instruction set.
#[test]
fn elements_are_one_fma_loop_at_every_level() {
    for (m, n, k, extra) in [
        (1, 1, 1, 0),
        (14, 64, 33, 0),
        (129, 31, 7, 5),
        (40, 16, 650, 3),
        (7, 530, 20, 0),
        (200, 8, 300, 1),
        (33, 33, 1290, 2),
        // Few rows, many columns: panels in place, with an edge; a short inner extent.
        (8, 100, 700, 3),
        (150, 40, 16, 0),
        (300, 12, 90, 4),
    ] {
        // Rows lie further apart than they are long.
        let place = |rows: usize, columns: usize, seed: u64| random(rows * (columns + extra), seed);
        let value = |data: &[f32], columns: usize, row: usize, column: usize| data[row * (columns + extra) + column];
        let (a, a_t, b, b_t) = (place(m, k, 1), place(k, m, 2), place(k, n, 3), place(n, k, 4));
        let view = |data: &'static [f32], columns: usize| View::rows(data, columns, columns + extra);
        let [a, a_t, b, b_t] = [a, a_t, b, b_t].map(|data| &*data.leak());
        for (lhs_transposed, rhs_transposed, scale, accumulate) in [
            (false, false, 1.0, false),
            (false, true, 0.3, true),
            (true, false, 0.3, false),
            (true, false, 0.25, true),
            (true, true, 1.0, true),
        ] {
            let lhs = if lhs_transposed { view(a_t, m).t() } else { view(a, k) };
            let rhs = if rhs_transposed { view(b_t, k).t() } else { view(b, n) };
            let stride = n + extra;
            let before = random(m * stride, 5);
            let what = format!("{m}x{k}x{n} {lhs_transposed} {rhs_transposed}");
            let out = at_all_levels(&what, |level| {
                let mut out = before.clone();
                multiply_at(level, lhs, rhs, scale, accumulate, &mut out, stride);
                out
            });
            for row in 0..m {
                for column in 0..n {
                    let left = |i| if lhs_transposed { value(a_t, m, i, row) } else { value(a, k, row, i) };
                    let right = |i| if rhs_transposed { value(b_t, k, column, i) } else { value(b, n, i, column) };
                    let start = if accumulate { before[row * stride + column] } else { 0.0 };
                    let fma_loop = (0..k).fold(start, |sum, i| (left(i) * scale).mul_add(right(i), sum));
                    assert_eq!(out[row * stride + column].to_bits(), fma_loop.to_bits(), "{what}: {row}, {column}");
                }
                let beyond = row * stride + n..(row + 1) * stride;
                assert_eq!(out[beyond.clone()], before[beyond], "{what}: beside the result");
            }
        }
    }
}
