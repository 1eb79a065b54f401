//! Safetensors checkpoints: reading mapped shards, planning and writing new ones.
//!
//! [`ModelDir`] opens a Hugging Face model directory and gives every tensor as a range of a mapped
//! shard; a [`TensorSource`] is such a directory or a model in memory. [`layout`] plans output shards; [`writer`]
//! fills them from any thread inside a staging directory that appears under its final name in one rename.
//! [`folder_lock`] keeps a second run out of a folder that grows step by step.

pub mod config;
pub mod folder_lock;
pub mod hash;
pub mod header;
pub mod layout;
pub mod mapped;
pub mod model_dir;
pub mod quantised;
pub mod sealed;
pub mod source;
pub mod writer;

pub use config::ModelConfig;
pub use model_dir::{CheckpointError, ModelDir, Tensor};
pub use source::{MemoryModel, TensorSource};
