//! A norm of the decoder: frozen, or with a trained weight.

use candle_core::{Result, Tensor};

use super::ops::{RmsNorm, TrainedRmsNorm};
use super::projection::Pass;

/// A root-mean-square norm and its name in the checkpoint.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    /// Such as `model.norm.weight`.
    pub(super) name: String,
    pub(super) frozen: RmsNorm,
    /// The weight where a trainer has taken it over.
    pub(super) trained: Option<Tensor>,
}

impl Norm {
    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        match &self.trained {
            Some(weight) => {
                let op = TrainedRmsNorm { offset: self.frozen.offset, eps: self.frozen.eps };
                x.apply_op2(&pass.variable(weight), op)
            }
            None => x.apply_op1(self.frozen.clone()),
        }
    }
}
