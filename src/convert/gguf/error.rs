//! Faults of a GGUF file.

use std::io;
use std::path::PathBuf;

use crate::error::{Diagnose, ErrorKind};

/// A defect of a GGUF file; one variant each.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum GgufError {
    #[error("cannot read {}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("{} is not a GGUF file", file.display())]
    NotGguf { file: PathBuf },
    #[error("{}: GGUF version {version} is not supported", file.display())]
    Version { file: PathBuf, version: u32 },
    #[error("{}: big-endian GGUF is not supported", file.display())]
    BigEndian { file: PathBuf },
    #[error("{}: truncated in {what} at byte {at}", file.display())]
    Truncated { file: PathBuf, what: &'static str, at: u64 },
    #[error("{}: {count} {what} can't fit into the {remaining} bytes that follow", file.display())]
    TooMany { file: PathBuf, what: &'static str, count: u64, remaining: u64 },
    #[error("{}: metadata `{key}` is there twice", file.display())]
    DuplicateKey { file: PathBuf, key: String },
    #[error("{}: metadata `{key}` has value type {found}, which is unknown or nested", file.display())]
    ValueType { file: PathBuf, key: String, found: u32 },
    #[error("{}: metadata `{key}` is missing", file.display())]
    MissingKey { file: PathBuf, key: String },
    #[error("{}: metadata `{key}` is not {expected}", file.display())]
    WrongType { file: PathBuf, key: String, expected: &'static str },
    #[error("{}: general.alignment is {alignment}, not a power of two up to 65536", file.display())]
    Alignment { file: PathBuf, alignment: u64 },
    #[error("{}: tensor `{tensor}` is listed twice", file.display())]
    DuplicateTensor { file: PathBuf, tensor: String },
    #[error("{}: tensor `{tensor}` has {dimensions} dimensions, more than 4", file.display())]
    Dimensions { file: PathBuf, tensor: String, dimensions: u32 },
    #[error("{}: tensor `{tensor}` has shape {shape:?}, which is empty or whose size overflows", file.display())]
    Shape { file: PathBuf, tensor: String, shape: Vec<u64> },
    #[error("{}: tensor `{tensor}` is of type {name}", file.display())]
    UnsupportedType { file: PathBuf, tensor: String, name: String },
    #[error("{}: rows of tensor `{tensor}` have {columns} elements, no multiple of a block of {block}", file.display())]
    PartialBlock { file: PathBuf, tensor: String, columns: u64, block: u64 },
    #[error("{}: tensor `{tensor}` starts at offset {offset}, which is not aligned to {alignment}", file.display())]
    Unaligned { file: PathBuf, tensor: String, offset: u64, alignment: u64 },
    #[error("{}: truncated: tensor `{tensor}` ends at byte {end}, the file at {length}", file.display())]
    TensorBeyondFile { file: PathBuf, tensor: String, end: u64, length: u64 },
    #[error("{}: tensors `{first}` and `{second}` overlap", file.display())]
    Overlap { file: PathBuf, first: String, second: String },
    #[error("{} is part {found} of {count}, but {given} parts were given", file.display())]
    SplitCount { file: PathBuf, found: u64, count: u64, given: usize },
    #[error("{}: the parts hold {found} tensors, the first one announces {expected}", file.display())]
    SplitTensors { file: PathBuf, found: u64, expected: u64 },
}

impl Diagnose for GgufError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            _ => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Io { .. } => return Vec::new(),
            Self::NotGguf { .. } => "give the .gguf file, or all its parts in order",
            Self::Version { .. } | Self::BigEndian { .. } => {
                "billon reads little-endian GGUF of versions 2 and 3: write the file again with a current llama.cpp"
            }
            Self::UnsupportedType { .. } => {
                "billon reads F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K: take another \
                 quantisation of the model"
            }
            Self::Truncated { .. } | Self::TensorBeyondFile { .. } => {
                "the file looks cut off: fetch it again, or give all its parts in order"
            }
            Self::SplitCount { .. } | Self::SplitTensors { .. } => "give all parts of the model, in order",
            Self::MissingKey { .. } | Self::WrongType { .. } => {
                "the metadata are incomplete or of a model that is not supported"
            }
            _ => "the file is damaged or was written by a faulty tool: fetch it again",
        };
        vec![hint.to_owned()]
    }
}
