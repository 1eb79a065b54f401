//! The gradient of an optimiser step.
//!
//! A step's examples are cut into [`units`](unit::units) of a few hundred tokens whatever the number of
//! threads. Each unit goes through the decoder layer by layer on one thread, every example
//! attending to itself only; its layers' activations are kept or computed again. Units' gradients
//! are added in their order, so that a step's bits do not depend on the threads.

mod loss;
pub(crate) mod micro_batch;
mod step;
#[cfg(test)]
mod tests;

pub(crate) use crate::train::gradient::micro_batch::UNIT_TOKENS;
pub(crate) use loss::LOGIT_ROWS;
pub(crate) use step::{StepLoss, StepSetting, step_gradient, validation_loss};
