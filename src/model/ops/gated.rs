//! `activation(gate) * up`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::values::{like, read, values};
use crate::compute::nn;
use crate::compute::nn::Activation;

/// The gate of the feed-forward.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gated {
    /// Applied to the first input.
    pub activation: Activation,
}

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (values(self.name(), gate, gate_layout)?, values(self.name(), up, up_layout)?);
        if gate.len() != up.len() {
            bail!("{}: inputs of {} and {} values", self.name(), gate.len(), up.len());
        }
        let out = nn::gated_to_vec(self.activation, gate, up);
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _res: &Tensor,
        grad_res: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let n = gate.elem_count();
        let (mut dgate, mut dup) = (vec![0.0; n], vec![0.0; n]);
        let name = self.name();
        read(name, gate, |gate| {
            read(name, up, |up| {
                read(name, grad_res, |dout| {
                    nn::gated_backward(self.activation, gate, up, dout, &mut dgate, &mut dup);
                    Ok(())
                })
            })
        })?;
        Ok((Some(like(gate, dgate)?), Some(like(up, dup)?)))
    }
}
