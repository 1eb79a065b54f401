//! The decoder's kernels on the CPU: pure functions on slices, one thread.
//!
//! What a row of outputs is depends on its own inputs alone, to the last bit: not on the other rows of the call,
//! not on how the keys of the past are cut into blocks, not on the instruction set. `tile` is the heart:
//! the products of weights and those of attention are made of it. `simd` has the operations that
//! the kernels are written in and picks the instruction set when the program runs; `scalar` is always
//! built.

mod activation;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod dense;
mod exp;
mod fresh;
mod matmul;
mod norm;
mod packed;
mod rotary;
mod scalar;
mod simd;
mod softmax;
mod tile;
mod transposed;

pub use activation::{Activation, gated, gated_to_vec, soft_cap};
pub use attention::{AttentionShape, KeyValues, attention};
pub use backward::{Attended, TokenLoss, attention_backward, cross_entropy, gated_backward, rms_norm_backward};
pub use dense::{View, multiply};
pub use norm::{rms_norm, rms_norm_to_vec};
pub use packed::{PackedMatrix, Precision};
pub use rotary::rotate;
pub use softmax::log_softmax_at;

#[cfg(test)]
mod contract_tests;
