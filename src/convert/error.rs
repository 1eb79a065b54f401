//! Reasons why a model can't be converted.

use std::path::PathBuf;

use super::gguf::GgufError;
use crate::error::{Diagnose, ErrorKind};
use crate::storage::publish::WriteError;

/// Reasons why a model can't be converted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum ConvertError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{}: architecture `{architecture}` is not supported", file.display())]
    Architecture { file: PathBuf, architecture: String },
    #[error("{}: tensor `{tensor}` has no place in a `{architecture}` model", file.display())]
    UnknownTensor { file: PathBuf, tensor: String, architecture: &'static str },
    #[error("{}: tensor `{tensor}` is missing", file.display())]
    MissingTensor { file: PathBuf, tensor: String },
    #[error("{}: tensor `{tensor}` has shape {found:?} but the metadata ask for {expected:?}", file.display())]
    WrongShape { file: PathBuf, tensor: String, found: Vec<u64>, expected: Vec<u64> },
    #[error("{}: {what} can't be said in a config of model type `{model_type}`", file.display())]
    Config { file: PathBuf, what: String, model_type: &'static str },
    #[error("{}: metadata `{key}` is {value}, which makes no sense here", file.display())]
    Value { file: PathBuf, key: String, value: String },
    #[error("{}: the tokenizer can't be rebuilt: {why}", file.display())]
    Tokenizer { file: PathBuf, why: String },
    #[error("{}: tensor `{tensor}` can't be dequantised", file.display())]
    Dequantise { file: PathBuf, tensor: String, source: Box<candle_core::Error> },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not a valid model config", path.display())]
    LikeConfig { path: PathBuf, source: serde_json::Error },
    #[error("{}: `{key}` is {found}, but the GGUF file has {expected}", path.display())]
    LikeMismatch { path: PathBuf, key: &'static str, found: String, expected: String },
}

impl Diagnose for ConvertError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Gguf(error) => error.kind(),
            Self::Write(error) => error.kind(),
            Self::Read { .. } => ErrorKind::Io,
            Self::LikeMismatch { .. } => ErrorKind::Mismatch,
            _ => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Gguf(error) => return error.hints(),
            Self::Write(error) => return error.hints(),
            Self::Architecture { .. } => {
                "billon converts llama (and mistral, smollm), qwen2, qwen3, phi3, gemma2 and gemma3 text models"
            }
            Self::UnknownTensor { .. } | Self::MissingTensor { .. } | Self::WrongShape { .. } | Self::Value { .. } => {
                "the file is damaged, incomplete, or of a variant of the architecture that is not supported"
            }
            Self::Config { .. } => {
                "give a directory of the original model with --like: its config and tokenizer are then taken as they are"
            }
            Self::Tokenizer { .. } => {
                "give a directory with the original model's tokenizer files and config with --like"
            }
            Self::LikeConfig { .. } => "config.json must be one JSON object",
            Self::LikeMismatch { .. } => "give the directory of the model that the GGUF file was made from",
            Self::Dequantise { .. } | Self::Read { .. } => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
