//! Reasons why an adapter can't be used or made.

use std::path::PathBuf;

use super::adapter::WEIGHTS;
use super::config::CONFIG;
use crate::error::{Diagnose, ErrorKind};
use crate::python::regex::{PatternError, SearchError};

/// Reasons why an adapter can't be used or made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AdapterError {
    #[error("adapter {} was not found", path.display())]
    NotFound { path: PathBuf },
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
    Pattern { file: PathBuf, key: String, source: PatternError },
    #[error("{}: the module `{module}` cannot be matched", file.display())]
    Search { file: PathBuf, module: String, source: SearchError },
    #[error("{}: tensor `{tensor}` {reason}", file.display())]
    Tensor { file: PathBuf, tensor: String, reason: String },
    #[error("{}: the scale alpha/r of `{module}` is {scale:e}, which is not a number above 0 in f32", file.display())]
    Scale { file: PathBuf, module: String, scale: f64 },
    #[error("{} has factors of `{module}`, which `{key}` of {CONFIG} leaves out", file.display())]
    OutsideTargets { file: PathBuf, module: String, key: &'static str },
    #[error("{}: `target_modules` of {CONFIG} names `{name}`, but there are no factors of `{module}`", file.display())]
    NoFactors { file: PathBuf, name: String, module: String },
    #[error("{} holds several adapters: {}", file.display(), quoted(names))]
    SeveralAdapters { file: PathBuf, names: Vec<String> },
    #[error("target module `{name}` matches no linear layer of the model")]
    UnknownTarget { name: String, nearest: Option<String> },
    #[error("`target_modules` picks no linear layer of the model")]
    NoTarget,
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Diagnose for AdapterError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::Usage,
            Self::Io { .. } => ErrorKind::Io,
            Self::UnknownTarget { .. } | Self::NoTarget => ErrorKind::Mismatch,
            _ => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NotFound { .. } => "give the folder of a PEFT adapter",
            Self::NoConfig { path } if path.join("config.json").is_file() => {
                "it is a model directory: give the folder that PEFT's save_pretrained wrote"
            }
            Self::NoConfig { .. } => "give the folder that PEFT's save_pretrained wrote",
            Self::NoWeights { .. } => "pickled adapters (.bin) are not read: save again with safe_serialization=True",
            Self::Io { .. } => return Vec::new(),
            Self::Json { .. } => "write the file again with PEFT",
            Self::Pattern { .. } => "the pattern must be a regular expression of Python",
            Self::Search { .. } => "write the pattern so that each character can be matched in one way",
            Self::Scale { .. } => "correct `lora_alpha` or `alpha_pattern`",
            Self::Unsupported { key, .. } if key.starts_with("lora_alpha") || key.starts_with("alpha_pattern") => {
                "correct the number: the factor on the change is alpha/r"
            }
            Self::Unsupported { .. } => "merge the adapter into its base with PEFT and give the merged model",
            Self::Tensor { .. } | Self::OutsideTargets { .. } | Self::NoFactors { .. } => {
                "the weights do not belong to this adapter_config.json: save the adapter again"
            }
            Self::SeveralAdapters { .. } => "save one of them with PEFT's save_pretrained",
            Self::UnknownTarget { nearest: Some(nearest), .. } => return vec![format!("did you mean `{nearest}`?")],
            Self::UnknownTarget { nearest: None, .. } | Self::NoTarget => {
                "`billon inspect` lists a model's layers; `all-linear` takes every linear layer but the head"
            }
        };
        vec![hint.to_owned()]
    }
}
