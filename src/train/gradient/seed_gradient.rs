//! Start of a backward pass from a given gradient.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

/// Scalar whose backward pass starts from this gradient of `output`.
pub(super) fn seed_gradient(output: &Tensor, gradient: Tensor) -> candle_core::Result<Tensor> {
    output.apply_op1(SeedGradient { gradient })
}

struct SeedGradient {
    gradient: Tensor,
}

impl CustomOp1 for SeedGradient {
    fn name(&self) -> &'static str {
        "seed-gradient"
    }

    fn cpu_fwd(&self, _storage: &CpuStorage, _layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _arg: &Tensor, _res: &Tensor, _grad_res: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.gradient.clone()))
    }
}
