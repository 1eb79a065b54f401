//! Root-mean-square norm (Zhang and Sennrich 2019).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::values::{like, read, values};
use crate::compute::nn;

/// Normalises runs of `weight.len()` values: whole rows, or the heads in a row.
#[derive(Debug, Clone)]
pub(crate) struct RmsNorm {
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
        let out = nn::rms_norm_to_vec(x, &self.weight, self.offset, self.eps);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad_res: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = vec![0.0; arg.elem_count()];
        read(self.name(), arg, |x| {
            read(self.name(), grad_res, |dout| {
                nn::rms_norm_backward(x, &self.weight, self.offset, self.eps, dout, &mut dx, None);
                Ok(())
            })
        })?;
        like(arg, dx).map(Some)
    }
}

/// The norm with its weight as second argument.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrainedRmsNorm {
    /// As in [`RmsNorm`].
    pub offset: f32,
    /// As in [`RmsNorm`].
    pub eps: f32,
}

impl CustomOp2 for TrainedRmsNorm {
    fn name(&self) -> &'static str {
        "trained-rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let weight = values(self.name(), weight, weight_layout)?.into();
        RmsNorm { weight, offset: self.offset, eps: self.eps }.cpu_fwd(x, x_layout)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _res: &Tensor,
        grad_res: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut dx, mut dweight) = (vec![0.0; x.elem_count()], vec![0.0; weight.elem_count()]);
        let name = self.name();
        read(name, x, |x| {
            read(name, weight, |w| {
                read(name, grad_res, |dout| {
                    nn::rms_norm_backward(x, w, self.offset, self.eps, dout, &mut dx, Some(&mut dweight));
                    Ok(())
                })
            })
        })?;
        Ok((Some(like(x, dx)?), Some(like(weight, dweight)?)))
    }
}
