//! The decoder's kernels on the CPU: pure functions on slices, one thread.
//!
//! What a row of outputs is depends on its own inputs alone, to the last bit: not on the other rows of the call,
//! not on how the keys of the past are cut into blocks, and not on the instruction set, with one exception: where the
//! CPU has tile registers, bf16 weights are multiplied in them (`amx`), as accurately, but to other last bits than
//! elsewhere (`chain`). `tile` is the heart of the rest, the products of attention among it. `simd` has the operations
//! that the kernels are written in and picks the instruction set when the program runs; `scalar` is always built.

pub(crate) mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod chain;
pub(crate) mod dense;
pub(crate) mod exp;
mod fresh;
mod matmul;
pub(crate) mod norm;
mod packed;
pub(crate) mod rotary;
mod scalar;
pub(crate) mod simd;
pub(crate) mod softmax;
#[cfg(target_arch = "x86_64")]
mod split;
mod tile;

pub use activation::Activation;
pub use activation::gated;
pub(crate) use activation::gated_to_vec;
pub(crate) use activation::soft_cap;
pub use attention::{AttentionShape, KeyValues, attention};
pub(crate) use backward::{Attended, attention_backward, cross_entropy, gated_backward, rms_norm_backward};
pub(crate) use dense::{View, multiply};
pub use norm::rms_norm;
pub(crate) use norm::rms_norm_to_vec;
pub use packed::{PackedMatrix, Precision};
pub use rotary::rotate;
pub use softmax::log_softmax_at;

#[cfg(all(test, target_arch = "x86_64"))]
mod amx_tests;
pub(crate) mod gemm_backward_input;
