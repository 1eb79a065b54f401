//! Root-mean-square norm (Zhang and Sennrich 2019).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail};

use super::values;
use crate::model::kernels;

/// Normalises runs of `weight.len()` values: whole rows, or the heads in a row.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// Factors.
    pub weight: Arc<[f32]>,
    /// Added to every factor.
    pub offset: f32,
    /// Added to the mean square.
    pub eps: f32,
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(self.name(), storage, layout)?;
        let width = self.weight.len();
        if width == 0 || layout.shape().dims().last().is_none_or(|last| last % width != 0) {
            bail!("{}: weight of {width} values for rows of shape {:?}", self.name(), layout.shape());
        }
        let out = kernels::rms_norm_to_vec(x, &self.weight, self.offset, self.eps);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}
