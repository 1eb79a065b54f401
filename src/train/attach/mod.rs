//! Putting what is trained into a decoder, and taking it out again as an adapter or a model.

mod config;
mod full;
mod lora;
mod parameters;

pub use parameters::{Attached, attach};

use super::error::TrainError;

/// A projection that keeps something derived from its parameters.
trait Refresh: Send + Sync + std::fmt::Debug {
    /// Derives it again, after the parameters have moved.
    fn refresh(&self) -> Result<(), TrainError>;
}
