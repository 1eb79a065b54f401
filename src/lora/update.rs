//! Weight update of one module, from its factors.
//!
//! Every element is computed by itself, in f32: `s · b` first, then one multiply-add for each rank in
//! order. It does not depend on which part of a row is asked for, so chunks of any size agree bit for
//! bit.

use std::ops::Range;

use ndarray::{Array2, s};

/// The change of one module: `s · B A`, or DoRA's `m / ‖W + s B A‖ · (W + s B A) − W` by rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraFactors {
    pub(super) scale: f64,
    /// `[rank, inputs]`, row after row in memory.
    pub(super) a: Array2<f32>,
    /// `[outputs, rank]`, likewise.
    pub(super) b: Array2<f32>,
    pub(super) magnitude: Option<Vec<f32>>,
}

impl LoraFactors {
    /// Columns of the weight.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.a.ncols()
    }

    /// Rows of the weight.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.b.nrows()
    }

    /// Rows of A and columns of B.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.a.nrows()
    }

    /// The factor on `B A`.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// A, `[rank, inputs]`, row after row in memory.
    #[must_use]
    pub fn a(&self) -> &Array2<f32> {
        &self.a
    }

    /// B, `[outputs, rank]`, row after row in memory.
    #[must_use]
    pub fn b(&self) -> &Array2<f32> {
        &self.b
    }

    /// DoRA's magnitudes, one for each row of the weight.
    #[must_use]
    pub fn magnitude(&self) -> Option<&[f32]> {
        self.magnitude.as_deref()
    }

    /// Adds `weight · s · (B A)[row, columns]` to `out`, which has as many elements as there are columns.
    ///
    /// # Panics
    /// When the weight has no such row or columns.
    pub fn add_product(&self, row: usize, columns: Range<usize>, weight: f32, out: &mut [f32]) {
        let factor = weight * self.scale as f32;
        for (b, a) in self.b.row(row).iter().zip(self.a.slice(s![.., columns]).rows()) {
            let factor = factor * b;
            let a = a.to_slice().expect("a part of a row of a matrix kept by rows is contiguous");
            for (out, a) in out.iter_mut().zip(a) {
                *out += factor * a;
            }
        }
    }

    /// DoRA's factor on a row of `W + s B A`: its magnitude over its length (summed in f64). 1 without
    /// DoRA. `base` is the row of W.
    #[must_use]
    pub fn gain(&self, row: usize, base: &[f32]) -> f32 {
        let Some(magnitude) = self.magnitude.as_ref().map(|magnitude| magnitude[row]) else { return 1.0 };
        let mut changed = base.to_vec();
        self.add_product(row, 0..self.inputs(), 1.0, &mut changed);
        let length = changed.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        // A row of zeros has no direction to stretch.
        if length == 0.0 { 1.0 } else { (f64::from(magnitude) / length) as f32 }
    }

    /// Turns a part of a row of W into the adapted weight; `gain` is that of the row.
    pub fn apply(&self, row: usize, columns: Range<usize>, gain: f32, out: &mut [f32]) {
        self.add_product(row, columns, 1.0, out);
        if self.magnitude.is_some() {
            for value in out {
                *value *= gain;
            }
        }
    }

    /// Adds one row of the change, times `weight`, to `out`. `base` is the row of W.
    pub fn add_row(&self, row: usize, base: &[f32], weight: f32, out: &mut [f32]) {
        if self.magnitude.is_none() {
            self.add_product(row, 0..self.inputs(), weight, out);
            return;
        }
        let mut changed = base.to_vec();
        self.apply(row, 0..self.inputs(), self.gain(row, base), &mut changed);
        for ((out, changed), base) in out.iter_mut().zip(changed).zip(base) {
            *out += weight * (changed - base);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than vectors of any CPU hold, and no whole number of them.
    const WIDTH: usize = 150;

    fn factors(magnitude: Option<Vec<f32>>) -> LoraFactors {
        let value = |i: usize| ((i * 37 % 19) as f32 - 9.0) / 8.0;
        LoraFactors {
            scale: 1.5,
            a: Array2::from_shape_fn((3, WIDTH), |(row, column)| value(row * WIDTH + column)),
            b: Array2::from_shape_fn((5, 3), |(row, column)| value(row * 3 + column + 4)),
            magnitude,
        }
    }

    #[test]
    fn rows_are_the_formula_and_parts_of_rows_are_the_same_bits() {
        for magnitude in [None, Some(vec![1.0, 0.5, -2.0, 3.0, 0.0])] {
            let factors = factors(magnitude.clone());
            for row in 0..5 {
                let base: Vec<f32> = (0..WIDTH).map(|i| ((row * 7 + i) % 20) as f32 / 10.0 - 1.0).collect();
                let product = |column: usize| -> f64 {
                    (0..3).map(|k| f64::from(factors.b[[row, k]]) * f64::from(factors.a[[k, column]])).sum()
                };
                let raw: Vec<f64> = (0..WIDTH).map(|i| f64::from(base[i]) + 1.5 * product(i)).collect();
                let length = raw.iter().map(|v| v * v).sum::<f64>().sqrt();
                let gain = magnitude.as_ref().map_or(1.0, |m| f64::from(m[row]) / length);
                let mut whole = base.clone();
                factors.add_row(row, &base, 1.0, &mut whole);
                let mut applied = base.clone();
                factors.apply(row, 0..WIDTH, factors.gain(row, &base), &mut applied);
                for i in 0..WIDTH {
                    assert!((f64::from(whole[i]) - gain * raw[i]).abs() < 2e-6, "{row} {i}");
                    assert!((f64::from(applied[i]) - gain * raw[i]).abs() < 2e-6, "{row} {i}");
                }
                for (start, end) in [(0, 3), (3, WIDTH), (60, 131), (2, 2)] {
                    let mut part = base[start..end].to_vec();
                    factors.apply(row, start..end, factors.gain(row, &base), &mut part);
                    assert_eq!(part, applied[start..end]);
                }
                let mut half = base.clone();
                factors.add_row(row, &base, 0.5, &mut half);
                for i in 0..WIDTH {
                    let middle = f64::midpoint(f64::from(base[i]), gain * raw[i]);
                    assert!((f64::from(half[i]) - middle).abs() < 2e-6, "{row} {i}");
                }
            }
        }
    }
}
