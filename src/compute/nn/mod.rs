//! The decoder's kernels on the CPU: pure functions on slices, one thread.
//!
//! A row of outputs depends on its own inputs alone, to the last bit: not on the other rows of the call, not on the blocks
//! that the KV cache comes in, and not on the instruction set, with one exception: where the CPU has tile
//! registers, bf16 weights are multiplied in them (`amx`), as accurately, but to other last bits than `fma_loop`.
//! All kernels are written once against [`crate::compute::simd`].

pub(crate) mod activation;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub(crate) mod attention;
mod backward;
#[cfg(target_arch = "x86_64")]
mod bf16x3;
pub(crate) mod elementary;
mod fma_loop;
pub(crate) mod gemm;
mod gemm_backward_input;
mod gemm_forward;
mod gemm_kernel;
pub(crate) mod norm;
mod packed_matrix;
pub(crate) mod rotary;
pub(crate) mod softmax;
mod uninit;

pub use activation::Activation;
pub use activation::gated;
pub(crate) use activation::gated_to_vec;
pub(crate) use activation::soft_cap;
pub use attention::{AttentionShape, KeyValues, attention};
pub(crate) use backward::{Attended, attention_backward, cross_entropy, gated_backward, rms_norm_backward};
pub(crate) use gemm::{View, multiply};
pub use norm::rms_norm;
pub(crate) use norm::rms_norm_to_vec;
pub use packed_matrix::{PackedMatrix, WeightDtype};
pub use rotary::rotate;
pub use softmax::log_softmax_at;
