//! bf16 weights in tile registers: accurate, each row on its own, and the sums that the instruction is documented to make.
//! On a CPU without tile registers these tests say so and pass.

use super::inputs::{bits, pack, random, stored};
use crate::compute::nn::WeightDtype;
use crate::compute::nn::amx::Amx;

fn available() -> bool {
    let available = Amx::detect().is_some();
    if !available {
        eprintln!("skipped: this CPU has no tile registers (AMX)");
    }
    available
}

/// bf16x3 parts of a value: the upper half of its bits, that of the rest, and the rest of that.
fn split(value: f32) -> [f32; 3] {
    let upper = |value: f32| f32::from_bits(value.to_bits() & 0xffff_0000);
    let first = upper(value);
    let second = upper(value - first);
    [first, second, value - first - second]
}

/// The instruction as documented: for each step of 32, even and odd inputs in an FMA loop each, then their sum. Parts of
/// the row from the smallest on.
fn sum_of_parts(x: &[f32], w: &[f32]) -> f32 {
    let mut sum = 0.0_f32;
    for (x, w) in x.chunks(32).zip(w.chunks(32)) {
        for part in [2, 1, 0] {
            let mut chains = [0.0_f32; 2];
            for (at, (x, w)) in x.iter().zip(w).enumerate() {
                chains[at % 2] = split(*x)[part].mul_add(*w, chains[at % 2]);
            }
            sum += chains[0] + chains[1];
        }
    }
    sum
}

fn bf16(w: &[f32]) -> Vec<f32> {
    w.iter().map(|v| stored(*v, WeightDtype::Bf16)).collect()
}

/// Every number of rows in a pair of tiles, steps that are not full, several stretches and blocks, narrow panels.
const SHAPES: [(usize, usize, usize); 8] =
    [(1, 1, 1), (2, 31, 3), (16, 33, 32), (17, 64, 513), (32, 70, 1027), (33, 97, 40), (600, 34, 70), (257, 32, 64)];

#[test]
fn products_in_tiles_are_sums_of_parts_of_each_row_alone() {
    if !available() {
        return;
    }
    for (m, n, k) in SHAPES {
        let (x, w, bias) = (random(m * k, 31), bf16(&random(n * k, 32)), random(n, 33));
        let packed = pack(&w, n, k, WeightDtype::Bf16);
        let mut out = vec![f32::NAN; m * n];
        packed.matmul(&x, Some(&bias), &mut out);
        for row in [0, m / 2, m - 1] {
            let x = &x[row * k..][..k];
            for column in 0..n {
                let w = &w[column * k..][..k];
                let result = out[row * n + column];
                // Stretches are whole steps, so that the cut shows nowhere.
                let expected = sum_of_parts(x, w) + bias[column];
                assert_eq!(result.to_bits(), expected.to_bits(), "{m}x{k}x{n}: {row}, {column}");
                let exact: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let size: f64 = x.iter().zip(w).map(|(x, w)| f64::from(x * w).abs()).sum();
                let bound = f64::from(f32::EPSILON) * (size * (k as f64).sqrt().max(4.0) + 2.0);
                assert!((f64::from(result - bias[column]) - exact).abs() <= bound, "{result}: {exact}");
            }
            let mut alone = vec![0.0; n];
            packed.matmul(x, Some(&bias), &mut alone);
            assert_eq!(bits(&alone), bits(&out[row * n..][..n]));
        }
        assert_eq!(bits(&packed.matmul_to_vec(m, &x, Some(&bias))), bits(&out));
    }
}

#[test]
fn input_gradients_in_tiles_are_the_same_sum_over_the_outputs() {
    if !available() {
        return;
    }
    for (m, k, n) in SHAPES {
        let (y, w) = (random(m * n, 34), bf16(&random(n * k, 35)));
        let packed = pack(&w, n, k, WeightDtype::Bf16);
        let mut out = vec![f32::NAN; m * k];
        packed.matmul_transposed(&y, &mut out);
        for row in [0, m / 2, m - 1] {
            let y = &y[row * n..][..n];
            for column in 0..k {
                let w: Vec<f32> = (0..n).map(|i| w[i * k + column]).collect();
                assert_eq!(out[row * k + column].to_bits(), sum_of_parts(y, &w).to_bits(), "{row}, {column}");
            }
            let mut alone = vec![0.0; k];
            packed.matmul_transposed(y, &mut alone);
            assert_eq!(bits(&alone), bits(&out[row * k..][..k]));
        }
    }
}

#[test]
fn non_finite_values_stay_in_their_row_and_column_in_tiles() {
    if !available() {
        return;
    }
    let (m, n, k) = (40, 40, 700);
    let (mut x, mut w) = (vec![1.0; m * k], vec![1.0; n * k]);
    x[7 * k + 3] = f32::NAN;
    x[9 * k + 3] = f32::INFINITY;
    x[9 * k + 690] = f32::INFINITY;
    let mut out = vec![0.0; m * n];
    pack(&w, n, k, WeightDtype::Bf16).matmul(&x, None, &mut out);
    let expected = |row: usize| [700.0, f32::NAN, f32::INFINITY][usize::from(row == 7) + 2 * usize::from(row == 9)];
    for (i, value) in out.iter().enumerate() {
        assert!(value.to_bits() == expected(i / n).to_bits() || (i / n == 7 && value.is_nan()), "{i}: {value}");
    }
    x.fill(1.0);
    w[33 * k + 29] = f32::INFINITY;
    pack(&w, n, k, WeightDtype::Bf16).matmul(&x, None, &mut out);
    for (i, value) in out.iter().enumerate() {
        assert_eq!(*value, if i % n == 33 { f32::INFINITY } else { 700.0 });
    }
}
