//! A frozen projection with trained low-rank factors.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{Result, Tensor};

use super::fused_part::part;
use super::refresh::Refresh;
use crate::compute::nn::{View, multiply};
use crate::model::ops::{Dropout, LoraLinear, Magnitude, PackedLinear};
use crate::model::{Pass, Projection};
use crate::rng::stream_key;
use crate::train::error::TrainError;

/// `W x + b + s B A x`, or `DoRA`'s form of it.
#[derive(Debug)]
pub(super) struct LoraProjection {
    pub(super) base: PackedLinear,
    /// `[r, inputs]`, shared by all parts of a fused module.
    pub(super) a: Tensor,
    /// `[outputs of the whole module, r]`.
    pub(super) b: Tensor,
    /// First of the module's outputs that this projection has.
    pub(super) first_row: usize,
    pub(super) scale: f32,
    pub(super) dropout: f32,
    pub(super) module: String,
    pub(super) dora: Option<Dora>,
}

/// `DoRA`'s magnitudes and the norms that they stand against.
#[derive(Debug)]
pub(super) struct Dora {
    /// `[outputs of the whole module]`.
    pub(super) magnitude: Tensor,
    /// `|W + s B A|` of the part's outputs.
    pub(super) norm: RwLock<Arc<[f32]>>,
}

impl LoraProjection {
    fn part(&self, whole: &Tensor) -> Result<Tensor> {
        part(whole, self.first_row, self.base.weight.n())
    }

    /// Lengths of the rows of `W + s B A`, in f64 over each row.
    pub(super) fn norms(&self) -> Result<Vec<f32>> {
        const ROWS: usize = 32;
        let (weight, b) = (&self.base.weight, self.part(&self.b.detach())?);
        let (n, k, r) = (weight.n(), weight.k(), self.a.dim(0)?);
        let a: Vec<f32> = self.a.detach().flatten_all()?.to_vec1()?;
        let b: Vec<f32> = b.flatten_all()?.to_vec1()?;
        let mut norms = Vec::with_capacity(n);
        let mut rows = vec![0.0; ROWS * k];
        for first in (0..n).step_by(ROWS) {
            let count = ROWS.min(n - first);
            let rows = &mut rows[..count * k];
            for (row, out) in rows.chunks_exact_mut(k).enumerate() {
                weight.row(first + row, out);
            }
            let b = &b[first * r..(first + count) * r];
            multiply(View::rows(b, r, r), View::rows(&a, k, k), self.scale, true, rows, k);
            let length = |row: &[f32]| row.iter().map(|w| f64::from(*w) * f64::from(*w)).sum::<f64>().sqrt() as f32;
            norms.extend(rows.chunks_exact(k).map(length));
        }
        Ok(norms)
    }
}

impl Projection for Arc<LoraProjection> {
    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let (a, b) = (pass.variable(&self.a), self.part(&pass.variable(&self.b))?);
        let dropout = pass
            .dropout
            .filter(|_| self.dropout > 0.0)
            .map(|key| Dropout { rate: self.dropout, key: stream_key(key, &[&self.module]) });
        let mut base = self.base.clone();
        let Some(dora) = &self.dora else {
            return x.apply_op3(&a, &b, LoraLinear { base, scale: self.scale, dropout });
        };
        let bias = base.bias.take();
        let y = x.apply_op3(&a, &b, LoraLinear { base, scale: self.scale, dropout })?;
        let norm = Arc::clone(&dora.norm.read().unwrap_or_else(PoisonError::into_inner));
        y.apply_op2(&self.part(&pass.variable(&dora.magnitude))?, Magnitude { norm, bias })
    }

    fn in_features(&self) -> usize {
        self.base.weight.k()
    }

    fn out_features(&self) -> usize {
        self.base.weight.n()
    }
}

impl Refresh for LoraProjection {
    fn refresh(&self) -> std::result::Result<(), TrainError> {
        if let Some(dora) = &self.dora {
            *dora.norm.write().unwrap_or_else(PoisonError::into_inner) = self.norms()?.into();
        }
        Ok(())
    }
}
