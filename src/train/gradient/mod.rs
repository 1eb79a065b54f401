//! The gradient of an optimiser step.
//!
//! A step's examples are split into micro-batches of a few hundred tokens whatever the number of threads
//! ([`micro_batch::split_micro_batches`]). Each passes the decoder layer by layer on one thread, every example
//! attending to itself only; its layers' activations are kept or recomputed. Gradients of micro-batches are
//! added in order, so that a step's bits do not depend on the threads.

mod loss;
pub(crate) mod micro_batch;
mod step;
#[cfg(test)]
mod tests;

pub(crate) use crate::train::gradient::micro_batch::MICRO_BATCH_TOKENS;
pub(crate) use loss::LOGIT_ROWS;
pub(crate) use step::{StepLoss, StepSettings, step_gradient, validation_loss};
