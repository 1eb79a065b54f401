//! GGUF, versions 2 and 3 (the format's specification is part of ggml's documentation).
//!
//! A file is a header (counts, metadata, tensor list) and aligned tensor data. It may come in
//! several pieces: cut anywhere (`x.gguf.part0`, ...) or as llama.cpp's `-00001-of-0000N.gguf`,
//! each of which is a whole GGUF file with some of the tensors.

pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod ggml_type;
pub(crate) mod header;
pub(crate) mod metadata;

pub(crate) use error::GgufError;
pub(crate) use file::{GgufFile, GgufTensor};
pub(crate) use ggml_type::GgmlType;
pub(crate) use metadata::Metadata;
