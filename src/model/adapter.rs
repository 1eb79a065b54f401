//! Adapters on top of a decoder's weights.

use crate::dtype::widen;
use crate::lora::{Adapter, LoraFactors, SavedTensor};

/// An adapter and the factor on its change.
#[derive(Debug)]
pub struct WeightedAdapter {
    /// LoRA adapter.
    pub adapter: Adapter,
    /// 1 applies it as it was trained.
    pub weight: f32,
}

/// Effect of one adapter on one tensor of rows.
pub(super) enum Change<'a> {
    /// Adds a low-rank product.
    Factors(&'a LoraFactors, f32),
    /// Puts another tensor in its place.
    Saved(&'a SavedTensor, f32),
}

impl Change<'_> {
    /// Rows and columns that it is made for; a vector is one row.
    pub(super) fn shape(&self) -> [usize; 2] {
        match self {
            Self::Factors(factors, _) => [factors.outputs(), factors.inputs()],
            Self::Saved(tensor, _) => match *tensor.shape.as_slice() {
                [width] => [1, width as usize],
                [rows, width] => [rows as usize, width as usize],
                _ => [0, 0],
            },
        }
    }
}

/// Adds all changes of one row to `out`, which holds the base's row: each change is taken from the
/// base, so that their order does not matter.
pub(super) fn change_row(changes: &[Change<'_>], row: usize, out: &mut [f32]) {
    let saved = |tensor: &SavedTensor, values: &mut [f32]| {
        let bytes = values.len() * tensor.dtype.bytes();
        widen(tensor.dtype, &tensor.bytes[row * bytes..(row + 1) * bytes], values);
    };
    match changes {
        [] => {}
        // Alone and whole it is taken as it is, not as a difference: the bits of a baked checkpoint.
        [Change::Saved(tensor, 1.0)] => saved(tensor, out),
        [Change::Factors(factors, 1.0)] => {
            let gain = factors.gain(row, out);
            factors.apply(row, 0..factors.inputs(), gain, out);
        }
        _ => {
            let base = out.to_vec();
            for change in changes {
                match change {
                    Change::Factors(factors, weight) => factors.add_row(row, &base, *weight, out),
                    Change::Saved(tensor, weight) => {
                        let mut values = vec![0.0; out.len()];
                        saved(tensor, &mut values);
                        for ((out, value), base) in out.iter_mut().zip(values).zip(&base) {
                            *out += weight * (value - base);
                        }
                    }
                }
            }
        }
    }
}
