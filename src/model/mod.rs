//! The causal decoder, for evaluation and for training.
//!
//! [`Decoder::open`] packs a checkpoint's weights (with adapters added) once; [`Decoder::forward`]
//! runs a batch of [`Segment`]s laid end to end, each after an immutable sequence of shared keys and
//! values. What a row computes never depends on the other rows of its batch, nor on how its past is
//! cut into blocks, to the last bit: that is what lets evaluation share prefixes freely.
//!
//! Families differ only in data ([`DecoderConfig`]): there is one block for all of them. Activations
//! are tensors and every fused step is a custom operation of [`ops`] with its gradient, so that a
//! trainer wraps a [`Projection`] and runs the layers as `LayerwiseForward` without touching the decoder.

mod adapter;
mod attention;
mod block;
mod cache;
mod config;
mod config_keys;
mod decoder;
mod generate;
mod norm;
mod open;
pub(crate) mod ops;
mod pool;
mod projection;
mod rope;
mod rope_config;
mod training;
mod weights;

pub use adapter::WeightedAdapter;
pub(crate) use cache::KvBlock;
pub use cache::Segment;
pub(crate) use config::DecoderConfig;
pub use decoder::Decoder;
pub(crate) use decoder::DecoderError;
pub use decoder::DecoderOptions;
pub use generate::{Sampling, Sequence, step};
pub use pool::WeightPool;
pub(crate) use projection::{Pass, Projection};
pub use rope::RopeFactors;
