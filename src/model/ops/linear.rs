//! `x · Wᵀ + b` with a packed weight.

use std::fmt;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::values::{like, read, values};
use crate::compute::nn::{PackedMatrix, View, multiply};

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

    fn bwd(&self, arg: &Tensor, _res: &Tensor, grad_res: &Tensor) -> Result<Option<Tensor>> {
        let m = arg.dim(0)?;
        let dx = read(self.name(), grad_res, |dout| Ok(self.weight.matmul_transposed_to_vec(m, dout)))?;
        like(arg, dx).map(Some)
    }
}

/// `x · Wᵀ` with the weight `[n, k]` as second argument, and its packed form to multiply with.
#[derive(Clone, Debug)]
pub(crate) struct TrainedLinear {
    /// The values of the second argument.
    pub weight: Arc<PackedMatrix>,
}

impl CustomOp2 for TrainedLinear {
    fn name(&self) -> &'static str {
        "trained-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        _weight: &CpuStorage,
        _weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        PackedLinear { weight: Arc::clone(&self.weight), bias: None }.cpu_fwd(x, x_layout)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _res: &Tensor,
        grad_res: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (n, k) = (self.weight.n(), self.weight.k());
        let (m, mut dweight) = (x.dim(0)?, vec![0.0; weight.elem_count()]);
        let dx = read(self.name(), x, |x| {
            read(self.name(), grad_res, |dout| {
                multiply(View::rows(dout, n, n).t(), View::rows(x, k, k), 1.0, false, &mut dweight, k);
                Ok(self.weight.matmul_transposed_to_vec(m, dout))
            })
        })?;
        Ok((Some(like(x, dx)?), Some(like(weight, dweight)?)))
    }
}
