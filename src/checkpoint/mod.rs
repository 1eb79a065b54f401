//! Safetensors checkpoints: reading mapped shards, planning and writing new ones.
//!
//! [`ModelDir`] opens a Hugging Face model directory and gives every tensor as a range of a mapped
//! shard; a [`TensorSource`] is such a directory or a model in memory. [`layout`] plans output shards; [`writer`]
//! fills them from any thread inside a staging directory that appears under its final name in one rename.
//! [`unchanged`] and [`shortened`] tell when a file changes while it is read.
//! [`folder_lock`] keeps a second run out of a folder that grows step by step. `place` says where an output may go,
//! `manifest` which files of a directory are billon's, `leftovers` what a killed run left.

pub mod config;
pub mod file_name;
pub mod file_set;
pub mod folder_lock;
pub mod hash;
pub mod header;
pub mod layout;
mod leftovers;
pub mod manifest;
pub mod mapped;
pub mod model_dir;
mod output_file;
mod place;
pub mod quantised;
pub mod sealed;
pub mod shortened;
pub mod source;
mod staging;
pub mod unchanged;
pub mod writer;

pub use config::ModelConfig;
pub use model_dir::{CheckpointError, ModelDir, Tensor};
pub use source::{MemoryModel, TensorSource};
pub use unchanged::{FileStamps, InputChanged};
