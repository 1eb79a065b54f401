//! Self-attention of one layer.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::batch::Batch;
use super::norm::Norm;
use super::ops::{Attention, Rotary};
use super::projection::{Pass, Projection};
use crate::compute::nn::AttentionShape;

/// Projections, head norms and shape.
#[derive(Debug)]
pub(super) struct SelfAttention {
    pub(super) q: Box<dyn Projection>,
    pub(super) k: Box<dyn Projection>,
    pub(super) v: Box<dyn Projection>,
    pub(super) o: Box<dyn Projection>,
    pub(super) q_norm: Option<Norm>,
    pub(super) k_norm: Option<Norm>,
    pub(super) shape: AttentionShape,
    pub(super) rope: usize,
    pub(super) layer: usize,
}

impl SelfAttention {
    /// Keys (normed and rotated) and values of normed rows.
    pub(super) fn keys_values(&self, x: &Tensor, batch: &Batch, pass: Pass) -> Result<(Tensor, Tensor)> {
        let k = self.k.forward(x, pass)?;
        let k = normed(self.k_norm.as_ref(), k, pass)?;
        let rotation = Arc::clone(&batch.rotations[self.rope].all);
        let k = k.apply_op1(Rotary { heads: self.shape.kv_heads, head_dim: self.shape.head_dim, rotation })?;
        Ok((k, self.v.forward(x, pass)?))
    }

    /// The attention's output for normed rows: all of the batch, or the wanted ones.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        k: &Tensor,
        v: &Tensor,
        batch: &Batch,
        wanted: bool,
        pass: Pass,
    ) -> Result<Tensor> {
        let q = normed(self.q_norm.as_ref(), self.q.forward(x, pass)?, pass)?;
        let rotations = &batch.rotations[self.rope];
        let (rotation, spans) =
            if wanted { (&rotations.wanted, &batch.wanted_spans) } else { (&rotations.all, &batch.spans) };
        let rotary = Rotary { heads: self.shape.heads, head_dim: self.shape.head_dim, rotation: Arc::clone(rotation) };
        let q = q.apply_op1(rotary)?;
        let attention = Attention { shape: self.shape, layer: self.layer, spans: Arc::clone(spans) };
        self.o.forward(&q.apply_op3(k, v, attention)?, pass)
    }
}

/// Normed where the family has a norm.
pub(super) fn normed(norm: Option<&Norm>, x: Tensor, pass: Pass) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(&x, pass),
        None => Ok(x),
    }
}

/// Copies of some rows.
pub(super) fn rows(x: &Tensor, rows: &Range<usize>) -> Result<Vec<f32>> {
    x.narrow(0, rows.start, rows.len())?.flatten_all()?.to_vec1()
}
