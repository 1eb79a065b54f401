//! The gradient of an optimiser step.
//!
//! A step's examples are cut into [`units`](unit::units) of a few hundred tokens whatever the number of
//! threads. Each unit goes through the decoder layer by layer on one thread, every example
//! attending to itself only; its layers' activations are kept or computed again. Units' gradients
//! are added in their order, so that a step's bits do not depend on the threads.

mod loss;
mod step;
#[cfg(test)]
mod tests;
mod unit;

pub use loss::LOGIT_ROWS;
pub use step::{StepLoss, StepSetting, step_gradient, validation_loss};
pub use unit::UNIT_TOKENS;
