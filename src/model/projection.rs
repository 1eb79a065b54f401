//! A linear map of the decoder, behind a trait so that a trainer can wrap it.

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::ops::PackedLinear;
use crate::compute::nn::PackedMatrix;

/// Purpose of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pass {
    /// Whether what is trained is recorded for a backward pass.
    pub record: bool,
    /// Decides what dropout drops; nothing without it.
    pub dropout: Option<u64>,
}

impl Pass {
    /// A trained tensor as this pass wants it: followed by gradients or not.
    #[must_use]
    pub fn variable(self, tensor: &Tensor) -> Tensor {
        if self.record { tensor.clone() } else { tensor.detach() }
    }
}

/// Maps rows `[m, in]` to `[m, out]`.
pub trait Projection: Debug + Send + Sync {
    /// Applies the map.
    ///
    /// # Errors
    /// Inputs of another shape.
    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor>;

    /// The frozen weight, if it is one: what a trainer wraps.
    fn frozen(&self) -> Option<&PackedLinear> {
        None
    }

    /// Width of the input.
    fn in_features(&self) -> usize;

    /// Width of the output.
    fn out_features(&self) -> usize;
}

/// Name of a projection: the module as the checkpoint names it, and the output rows (a part of them
/// where a checkpoint fuses several).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionName {
    /// Such as `model.layers.0.self_attn.q_proj`.
    pub module: String,
    /// First output row in the module.
    pub first_row: usize,
}

/// A frozen weight.
#[derive(Debug, Clone)]
pub(crate) struct Linear(PackedLinear);

impl Linear {
    /// From a packed weight and an optional bias of as many values as it has outputs.
    #[must_use]
    pub(crate) fn new(weight: Arc<PackedMatrix>, bias: Option<Arc<[f32]>>) -> Self {
        Self(PackedLinear { weight, bias })
    }
}

impl Projection for Linear {
    fn forward(&self, x: &Tensor, _pass: Pass) -> Result<Tensor> {
        x.apply_op1(self.0.clone())
    }

    fn frozen(&self) -> Option<&PackedLinear> {
        Some(&self.0)
    }

    fn in_features(&self) -> usize {
        self.0.weight.k()
    }

    fn out_features(&self) -> usize {
        self.0.weight.n()
    }
}
