//! Why an adapter can't be used or made.

use std::path::PathBuf;

use super::adapter::WEIGHTS;
use super::config::CONFIG;
use crate::error::{Diagnose, ErrorKind};

/// Why an adapter can't be used or made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AdapterError {
    #[error("{} is no adapter: it has no {CONFIG}", path.display())]
    NoConfig { path: PathBuf },
    #[error("{} has no {WEIGHTS}", path.display())]
    NoWeights { path: PathBuf },
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is not a valid adapter config", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{}: `{key}` is {value}, which is not supported: {reason}", file.display())]
    Unsupported { file: PathBuf, key: String, value: String, reason: &'static str },
    #[error("{}: `{key}` is no valid pattern", file.display())]
    Pattern { file: PathBuf, key: String, source: Box<regex::Error> },
    #[error("{}: tensor `{tensor}` {reason}", file.display())]
    Tensor { file: PathBuf, tensor: String, reason: String },
    #[error("target module `{name}` names no linear layer of the model")]
    UnknownTarget { name: String, nearest: Option<String> },
    #[error("`target_modules` picks no linear layer of the model")]
    NoTarget,
}

impl Diagnose for AdapterError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::UnknownTarget { .. } | Self::NoTarget => ErrorKind::Mismatch,
            _ => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoConfig { .. } => "give the folder that PEFT's save_pretrained wrote",
            Self::NoWeights { .. } => "pickled adapters (.bin) are not read: save again with safe_serialization=True",
            Self::Io { .. } => return Vec::new(),
            Self::Json { .. } => "write the file again with PEFT",
            Self::Pattern { .. } => "the pattern must be a regular expression without look-around",
            Self::Unsupported { .. } => "merge the adapter into its base with PEFT and give the merged model",
            Self::Tensor { .. } => "the weights do not belong to this adapter_config.json: save the adapter again",
            Self::UnknownTarget { nearest: Some(nearest), .. } => return vec![format!("did you mean `{nearest}`?")],
            Self::UnknownTarget { nearest: None, .. } | Self::NoTarget => {
                "`billon inspect` lists a model's layers; `all-linear` takes every linear layer but the head"
            }
        };
        vec![hint.to_owned()]
    }
}
