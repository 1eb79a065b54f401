//! `activation(gate) * up`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, bail};

use super::values;
use crate::model::kernels::{self, Activation};

/// The gate of the feed-forward.
#[derive(Debug, Clone, Copy)]
pub struct Gated {
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
        let out = kernels::gated_to_vec(self.activation, gate, up);
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }
}
