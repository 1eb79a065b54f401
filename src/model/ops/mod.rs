//! Fused steps of the decoder as custom operations on tensors.
//!
//! Each wraps one slice kernel and, for training, the one of its gradient; inputs are contiguous f32
//! on the CPU. Frozen weights are part of an operation and get no gradient; what is trained is an
//! argument.

mod attention;
mod embedding;
mod gated;
#[cfg(test)]
mod gradient_tests;
mod linear;
mod lora;
mod norm;
mod rotary;

pub(crate) use attention::{Attention, Span};
pub(crate) use embedding::EmbeddingRows;
pub(crate) use gated::Gated;
pub(crate) use linear::{PackedLinear, TrainedLinear};
pub(crate) use lora::{Dropout, LoraLinear, Magnitude};
pub(crate) use norm::{RmsNorm, TrainedRmsNorm};
pub(crate) use rotary::Rotary;

use candle_core::{CpuStorage, Device, Layout, Result, Storage, Tensor, bail};

/// The values of a contiguous f32 tensor.
fn values<'a>(op: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets().and_then(|(start, end)| all.get(start..end)) {
        Some(values) => Ok(values),
        None => bail!("{op} needs a contiguous tensor, not {layout:?}"),
    }
}

/// The values of a tensor, made contiguous if it isn't.
fn read<R>(op: &str, tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(values(op, storage, layout)?),
        _ => bail!("{op} runs on the CPU only"),
    }
}

/// A tensor of the shape of another.
fn like(tensor: &Tensor, values: Vec<f32>) -> Result<Tensor> {
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu)
}
