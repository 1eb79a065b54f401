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
mod values;

pub(crate) use attention::{Attention, Span};
pub(crate) use embedding::EmbeddingRows;
pub(crate) use gated::Gated;
pub(crate) use linear::{PackedLinear, TrainedLinear};
pub(crate) use lora::{Dropout, LoraLinear, Magnitude};
pub(crate) use norm::{RmsNorm, TrainedRmsNorm};
pub(crate) use rotary::Rotary;
