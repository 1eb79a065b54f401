//! Gradients of the fused steps: pure functions on slices, one thread.

mod attention;
mod cross_entropy;
mod gate;
mod norm;

pub(crate) use attention::{Attended, attention_backward};
pub(crate) use cross_entropy::cross_entropy;
pub(crate) use gate::gated_backward;
pub(crate) use norm::rms_norm_backward;
