//! `Y = X W^T + b` on a packed weight: one FMA loop an element, whatever surrounds it.

use super::inputs::{DTYPES, at_all_levels, bits, pack, random, stored};
use crate::compute::nn::{Activation, WeightDtype, gated, gated_to_vec, rms_norm, rms_norm_to_vec};
use crate::compute::simd::Level;

#[test]
fn elements_are_one_fma_loop_whatever_the_blocking() {
    // Every tile height, stretches that do not divide the depth, panels that are not full, two blocks of rows.
    for (m, n, k) in [(1, 1, 1), (2, 31, 3), (5, 33, 17), (14, 64, 513), (23, 70, 1027), (31, 97, 40), (175, 34, 9)] {
        let (x, w, bias) = (random(m * k, 1), random(n * k, 2), random(n, 3));
        for dtype in DTYPES {
            let packed = pack(&w, n, k, dtype);
            let out = at_all_levels(&format!("{dtype:?} {m}x{k}x{n}"), |level| {
                let mut out = vec![f32::NAN; m * n];
                packed.matmul_at(level, &x, Some(&bias), &mut out);
                out
            });
            for row in 0..m {
                for column in 0..n {
                    let fma_loop =
                        (0..k).fold(0.0_f32, |sum, i| x[row * k + i].mul_add(stored(w[column * k + i], dtype), sum));
                    assert_eq!(out[row * n + column].to_bits(), (fma_loop + bias[column]).to_bits(), "{row}, {column}");
                }
            }
            // A row alone.
            let mut alone = vec![0.0; n];
            packed.matmul_at(Level::detected(), &x[(m - 1) * k..], Some(&bias), &mut alone);
            assert_eq!(bits(&alone), bits(&out[(m - 1) * n..]));
            // A row of the weight.
            let mut row = vec![0.0; k];
            packed.row(n - 1, &mut row);
            let expected: Vec<f32> = w[(n - 1) * k..].iter().map(|v| stored(*v, dtype)).collect();
            assert_eq!(bits(&row), bits(&expected));
        }
    }
}

#[test]
fn results_in_new_vectors_equal_those_in_given_memory() {
    // Edges, several stretches and blocks, no depth, no rows.
    for (m, n, k) in [(3, 33, 17), (130, 70, 1300), (2, 3, 0), (0, 5, 5), (4, 0, 5)] {
        let (x, w, bias) = (random(m * k, 20), random(n * k, 21), random(n, 22));
        let packed = pack(&w, n, k, WeightDtype::F32);
        for bias in [None, Some(bias.as_slice())] {
            let mut out = vec![f32::NAN; m * n];
            packed.matmul(&x, bias, &mut out);
            assert_eq!(bits(&packed.matmul_to_vec(m, &x, bias)), bits(&out), "{m}x{k}x{n}");
        }
    }
    for n in [0, 1, 16, 37] {
        let (a, b) = (random(3 * n, 23), random(3 * n, 24));
        let mut out = vec![f32::NAN; 3 * n];
        gated(Activation::Silu, &a, &b, &mut out);
        assert_eq!(bits(&gated_to_vec(Activation::Silu, &a, &b)), bits(&out));
        rms_norm(&a, &b[..n], 1.0, 1e-5, &mut out);
        assert_eq!(bits(&rms_norm_to_vec(&a, &b[..n], 1.0, 1e-5)), bits(&out));
    }
}

#[test]
fn empty_k_gives_the_bias_and_non_finite_values_stay_in_their_row_and_column() {
    let packed = pack(&[], 3, 0, WeightDtype::F32);
    let mut out = [f32::NAN; 6];
    packed.matmul(&[], Some(&[1.0, 2.0, 3.0]), &mut out);
    assert_eq!(out, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    pack(&[], 0, 5, WeightDtype::F32).matmul(&[0.0; 5], None, &mut []);

    for dtype in DTYPES {
        let (m, n, k) = (20, 40, 30);
        let (mut x, mut w) = (vec![1.0; m * k], vec![1.0; n * k]);
        x[7 * k + 3] = f32::NAN;
        w[33 * k + 29] = f32::INFINITY;
        let packed = pack(&w, n, k, dtype);
        for level in Level::available() {
            let mut out = vec![0.0; m * n];
            packed.matmul_at(level, &x, None, &mut out);
            for (i, value) in out.iter().enumerate() {
                match (i / n, i % n) {
                    (7, _) => assert!(value.is_nan()),
                    (_, 33) => assert_eq!(*value, f32::INFINITY),
                    _ => assert_eq!(*value, 30.0),
                }
            }
        }
    }
}
