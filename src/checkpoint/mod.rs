//! Safetensors checkpoints: reading mapped shards, planning and writing new ones.
//!
//! [`ModelDir`] opens a Hugging Face model directory and gives every tensor as a range of a mapped shard; a
//! [`TensorSource`] is such a directory or a model in memory. [`header`] parses a shard's header, [`layout`] plans output
//! shards.

pub(crate) mod config;
mod diagnosis;
pub(crate) mod header;
pub(crate) mod layout;
pub(crate) mod model_dir;
pub(crate) mod quantised;
pub(crate) mod source;
mod tensor_info;

pub(crate) use config::ModelConfig;
pub(crate) use model_dir::CheckpointError;
pub use model_dir::ModelDir;
pub use model_dir::Tensor;
pub(crate) use source::MemoryModel;
pub use source::TensorSource;
