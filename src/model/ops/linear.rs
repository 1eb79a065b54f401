//! `x · Wᵀ + b` with a packed weight.

use std::fmt;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail};

use super::values;
use crate::model::kernels::PackedMatrix;

/// Maps rows `[m, k]` to `[m, n]`.
#[derive(Clone)]
pub struct PackedLinear {
    /// `[n, k]`.
    pub weight: Arc<PackedMatrix>,
    /// `[n]`.
    pub bias: Option<Arc<[f32]>>,
}

impl fmt::Debug for PackedLinear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedLinear({} to {}, bias: {})", self.weight.k(), self.weight.n(), self.bias.is_some())
    }
}

impl CustomOp1 for PackedLinear {
    fn name(&self) -> &'static str {
        "packed-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(self.name(), storage, layout)?;
        let (m, k) = layout.shape().dims2()?;
        if k != self.weight.k() {
            bail!("{}: input of {k} values, weight of {}", self.name(), self.weight.k());
        }
        let out = self.weight.matmul_to_vec(m, x, self.bias.as_deref());
        Ok((CpuStorage::F32(out), Shape::from((m, self.weight.n()))))
    }
}
