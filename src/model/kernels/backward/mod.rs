//! Gradients of the fused steps: pure functions on slices, one thread.

mod attention;
mod cross_entropy;
mod gate;
mod norm;

pub use attention::{Attended, attention_backward};
pub use cross_entropy::{TokenLoss, cross_entropy};
pub use gate::gated_backward;
pub use norm::rms_norm_backward;
