//! The causal decoder, for evaluation and for training.

pub mod kernels;
