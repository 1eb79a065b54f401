//! A projection whose weight itself is trained.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{Result, Tensor};

use super::{Refresh, part};
use crate::compute::nn::{PackedMatrix, WeightDtype};
use crate::model::ops::TrainedLinear;
use crate::model::{Pass, Projection};
use crate::train::error::TrainError;

/// `W x + b`, both trained.
#[derive(Debug)]
pub(super) struct FullProjection {
    /// `[outputs of the whole module, inputs]`.
    weight: Tensor,
    /// `[outputs of the whole module]`.
    bias: Option<Tensor>,
    first_row: usize,
    rows: usize,
    packed: RwLock<Arc<PackedMatrix>>,
}

impl FullProjection {
    /// Outputs `first_row..first_row + packed.n()` of a module; `packed` holds their present weights.
    pub(super) fn new(weight: Tensor, bias: Option<Tensor>, first_row: usize, packed: Arc<PackedMatrix>) -> Self {
        Self { weight, bias, first_row, rows: packed.n(), packed: RwLock::new(packed) }
    }

    fn part(&self, whole: &Tensor) -> Result<Tensor> {
        part(whole, self.first_row, self.rows)
    }
}

impl Projection for Arc<FullProjection> {
    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let weight = Arc::clone(&self.packed.read().unwrap_or_else(PoisonError::into_inner));
        let y = x.apply_op2(&self.part(&pass.variable(&self.weight))?, TrainedLinear { weight })?;
        match &self.bias {
            Some(bias) => y.broadcast_add(&self.part(&pass.variable(bias))?),
            None => Ok(y),
        }
    }

    fn in_features(&self) -> usize {
        self.weight.dim(1).unwrap_or(0)
    }

    fn out_features(&self) -> usize {
        self.rows
    }
}

impl Refresh for FullProjection {
    fn refresh(&self) -> std::result::Result<(), TrainError> {
        let values: Vec<f32> = self.part(&self.weight.detach())?.flatten_all()?.to_vec1()?;
        let k = self.weight.dim(1)?;
        let mut fill = |row: usize, out: &mut [f32]| out.copy_from_slice(&values[row * k..(row + 1) * k]);
        let packed = PackedMatrix::pack(self.rows, k, WeightDtype::F32, &mut fill);
        *self.packed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(packed);
        Ok(())
    }
}
