//! `dX = dY W` on the packed weight of the forward pass.

use super::inputs::{DTYPES, at_all_levels, bits, pack, random, stored};
use crate::compute::nn::WeightDtype;
use crate::compute::simd::Level;

#[test]
fn input_gradients_are_one_fma_loop_over_the_outputs() {
    // Panels that are not full either way, several stretches, two blocks of rows.
    for (m, n, k) in [(1, 1, 1), (2, 31, 3), (5, 33, 17), (14, 513, 64), (23, 1331, 70), (31, 40, 97), (350, 34, 9)] {
        let (y, w) = (random(m * n, 18), random(n * k, 19));
        for dtype in DTYPES {
            let packed = pack(&w, n, k, dtype);
            let out = at_all_levels(&format!("{dtype:?} {m}x{n}x{k}"), |level| {
                let mut out = vec![f32::NAN; m * k];
                packed.matmul_transposed_at(level, &y, &mut out);
                out
            });
            for row in 0..m {
                for column in 0..k {
                    let terms = (0..n).map(|i| (y[row * n + i], stored(w[i * k + column], dtype)));
                    let fma_loop = terms.clone().fold(0.0_f32, |sum, (y, w)| y.mul_add(w, sum));
                    assert_eq!(out[row * k + column].to_bits(), fma_loop.to_bits(), "{row}, {column}");
                    let exact: f64 = terms.map(|(y, w)| f64::from(y) * f64::from(w)).sum();
                    assert!(
                        (f64::from(fma_loop) - exact).abs() <= f64::from(f32::EPSILON) * n as f64,
                        "{fma_loop}: {exact}"
                    );
                }
            }
            let mut alone = vec![f32::NAN; k];
            packed.matmul_transposed_at(Level::detected(), &y[(m - 1) * n..], &mut alone);
            assert_eq!(bits(&alone), bits(&out[(m - 1) * k..]));
        }
    }
    let mut out = [f32::NAN; 10];
    pack(&[], 0, 5, WeightDtype::F32).matmul_transposed(&[], &mut out);
    assert_eq!(out, [0.0; 10]);
    pack(&[], 3, 0, WeightDtype::Bf16).matmul_transposed(&[1.0; 6], &mut []);
    // A bad weight harms its input only.
    let packed = pack(&[1.0, f32::NAN, 1.0, 1.0], 2, 2, WeightDtype::F32);
    packed.matmul_transposed(&[1.0, 0.0, 0.0, 1.0], &mut out[..4]);
    assert!(out[0] == 1.0 && out[2] == 1.0 && out[1].is_nan() && out[3].is_nan());
}
