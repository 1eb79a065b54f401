//! GGUF, versions 2 and 3 (the format's specification is part of ggml's documentation).
//!
//! A file is a header (counts, metadata, tensor list) and aligned tensor data. It may come in
//! several pieces: cut anywhere (`x.gguf.part0`, ...) or as llama.cpp's `-00001-of-0000N.gguf`,
//! each of which is a whole GGUF file with some of the tensors.

pub mod error;
pub mod file;
pub mod ggml_type;
pub mod header;
pub mod metadata;

pub use error::GgufError;
pub use file::{GgufFile, GgufTensor};
pub use ggml_type::GgmlType;
pub use metadata::{Metadata, Value};
