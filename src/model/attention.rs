//! Self-attention of one layer.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::block::Batch;
use super::kernels::AttentionShape;
use super::ops::{Attention, RmsNorm, Rotary};
use super::projection::Projection;

/// Projections, head norms and shape.
#[derive(Debug)]
pub(super) struct SelfAttention {
    pub(super) q: Box<dyn Projection>,
    pub(super) k: Box<dyn Projection>,
    pub(super) v: Box<dyn Projection>,
    pub(super) o: Box<dyn Projection>,
    pub(super) q_norm: Option<RmsNorm>,
    pub(super) k_norm: Option<RmsNorm>,
    pub(super) shape: AttentionShape,
    pub(super) rope: usize,
    pub(super) layer: usize,
}

impl SelfAttention {
    /// Keys (normed and rotated) and values of normed rows.
    pub(super) fn keys_values(&self, x: &Tensor, batch: &Batch) -> Result<(Tensor, Tensor)> {
        let k = self.k.forward(x)?;
        let k = norm(self.k_norm.as_ref(), k)?;
        let rotation = Arc::clone(&batch.rotations[self.rope].all);
        let k = k.apply_op1(Rotary { heads: self.shape.kv_heads, head_dim: self.shape.head_dim, rotation })?;
        Ok((k, self.v.forward(x)?))
    }

    /// The attention's output for normed rows: all of the batch, or the wanted ones.
    pub(super) fn forward(&self, x: &Tensor, k: &Tensor, v: &Tensor, batch: &Batch, wanted: bool) -> Result<Tensor> {
        let q = norm(self.q_norm.as_ref(), self.q.forward(x)?)?;
        let rotations = &batch.rotations[self.rope];
        let (rotation, spans) =
            if wanted { (&rotations.wanted, &batch.wanted_spans) } else { (&rotations.all, &batch.spans) };
        let rotary = Rotary { heads: self.shape.heads, head_dim: self.shape.head_dim, rotation: Arc::clone(rotation) };
        let q = q.apply_op1(rotary)?;
        let attention = Attention { shape: self.shape, layer: self.layer, spans: Arc::clone(spans) };
        self.o.forward(&q.apply_op3(k, v, attention)?)
    }
}

fn norm(norm: Option<&RmsNorm>, x: Tensor) -> Result<Tensor> {
    match norm {
        Some(norm) => x.apply_op1(norm.clone()),
        None => Ok(x),
    }
}

/// Copies of some rows.
pub(super) fn rows(x: &Tensor, rows: &Range<usize>) -> Result<Vec<f32>> {
    x.narrow(0, rows.start, rows.len())?.flatten_all()?.to_vec1()
}
