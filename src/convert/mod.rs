//! Other weight formats into Hugging Face model directories.
//!
//! - [`gguf`]: reading GGUF files, which are input from strangers: nothing is allocated or addressed
//!   before it was checked against the file.
//! - [`family`]: which Hugging Face tensor each GGUF tensor is, with what has to be undone.
//! - [`config`], [`tokenizer`]: `config.json` and the tokenizer's files from the metadata.
//! - [`directory`]: the conversion itself, tensor by tensor into a directory that appears whole.

pub(crate) mod config;
pub(crate) mod dequantise;
pub(crate) mod directory;
pub(crate) mod error;
pub(crate) mod family;
pub(crate) mod gguf;
pub(crate) mod like;
pub(crate) mod rope;
mod shapes;
mod tensor_map;
pub(crate) mod tokenizer;

pub use directory::ConvertOptions;
pub(crate) use directory::ConvertReport;
pub use directory::convert;
