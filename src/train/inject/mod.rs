//! Injects trainable parameters into a decoder, and extracts them as an adapter or a model.

mod config;
mod full;
mod fused_part;
mod lora;
mod parameters;
mod refresh;
mod start;

pub(crate) use parameters::{TrainableModel, inject};
pub(crate) use start::settled;
