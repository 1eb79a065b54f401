//! Rotary position embedding, half-split layout (Su et al. 2021 as Llama lays it out).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::values::{like, read, values};
use crate::compute::nn;
use crate::model::rope::Rotation;

/// Rotates the heads of rows `[t, heads * head_dim]`.
#[derive(Debug, Clone)]
pub(crate) struct Rotary {
    pub(in crate::model) heads: usize,
    pub(in crate::model) head_dim: usize,
    pub(in crate::model) rotation: Arc<Rotation>,
}

impl CustomOp1 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = values(self.name(), storage, layout)?.to_vec();
        let (t, width) = layout.shape().dims2()?;
        let rotation = &*self.rotation;
        if width != self.heads * self.head_dim || rotation.cos.len() != t * (rotation.rotary_dim / 2) {
            bail!("{}: {t} rows of {width} values do not fit the tables", self.name());
        }
        nn::rotate(&mut out, self.heads, self.head_dim, rotation.rotary_dim, &rotation.cos, &rotation.sin);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// A rotation's gradient is the rotation back; any factor on the tables stays.
    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad_res: &Tensor) -> Result<Option<Tensor>> {
        let rotation = &*self.rotation;
        let sin: Vec<f32> = rotation.sin.iter().map(|sin| -sin).collect();
        let mut dx = read(self.name(), grad_res, |grad| Ok(grad.to_vec()))?;
        nn::rotate(&mut dx, self.heads, self.head_dim, rotation.rotary_dim, &rotation.cos, &sin);
        like(arg, dx).map(Some)
    }
}
