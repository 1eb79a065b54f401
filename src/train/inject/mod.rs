//! Injects trainable parameters into a decoder, and extracts them as an adapter or a model.

mod config;
mod full;
mod lora;
mod parameters;
mod start;

pub(crate) use parameters::{TrainableModel, inject};
pub(crate) use start::settled;

use candle_core::Tensor;

use super::error::TrainError;

/// A projection that keeps something derived from its parameters.
trait Refresh: Send + Sync + std::fmt::Debug {
    /// Recomputes it after the parameters have changed.
    fn refresh(&self) -> Result<(), TrainError>;
}

/// The rows of a fused module's tensor that one projection has; all of them as they are.
fn part(whole: &Tensor, first_row: usize, rows: usize) -> candle_core::Result<Tensor> {
    if whole.dim(0)? == rows { Ok(whole.clone()) } else { whole.narrow(0, first_row, rows)?.contiguous() }
}
