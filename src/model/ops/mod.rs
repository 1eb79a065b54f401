//! Fused steps of the decoder as custom operations on tensors.
//!
//! Each wraps one slice kernel; inputs are contiguous f32 on the CPU. None has a backward pass yet,
//! and asking for one is an error, never a gradient left out in silence.

mod attention;
mod gated;
mod linear;
mod norm;
mod rotary;

pub use attention::{Attention, Span};
pub use gated::Gated;
pub use linear::PackedLinear;
pub use norm::RmsNorm;
pub use rotary::Rotary;

use candle_core::{CpuStorage, Layout, Result, bail};

/// The values of a contiguous f32 tensor.
fn values<'a>(op: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets().and_then(|(start, end)| all.get(start..end)) {
        Some(values) => Ok(values),
        None => bail!("{op} needs a contiguous tensor, not {layout:?}"),
    }
}
