//! Other weight formats into Hugging Face model directories.
//!
//! - [`gguf`]: reading GGUF files, which are input from strangers: nothing is allocated or addressed
//!   before it was checked against the file.
//! - [`family`]: which Hugging Face tensor each GGUF tensor is, with what has to be undone.
//! - [`config`], [`tokenizer`]: `config.json` and the tokenizer's files from the metadata.
//! - [`directory`]: the conversion itself, tensor by tensor into a directory that appears whole.

pub mod config;
pub mod dequantise;
pub mod directory;
pub mod error;
pub mod family;
pub mod gguf;
pub mod like;
pub mod rope;
pub mod tokenizer;

pub use directory::{ConvertOptions, ConvertReport, convert};
pub use error::ConvertError;
