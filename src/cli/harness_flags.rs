//! Flags of `lm_eval` that are not needed here: accepted with a word, so that a command line from there
//! works or says what to write.

use clap::Args;

use crate::error::{Diagnose, ErrorKind, Result};
use crate::event::Progress;

/// Flags of lm-evaluation-harness.
#[derive(Debug, Args)]
pub(super) struct HarnessFlags {
    #[arg(id = "harness_model", long = "model", hide = true, value_name = "KIND")]
    model: Option<String>,
    #[arg(long = "model-args", alias = "model_args", hide = true, value_name = "KEY=VALUE")]
    model_args: Option<String>,
    #[arg(long = "log-samples", alias = "log_samples", hide = true)]
    log_samples: bool,
    #[arg(long = "batch-size", alias = "batch_size", hide = true, value_name = "N")]
    batch_size: Option<String>,
    #[arg(long = "trust-remote-code", alias = "trust_remote_code", hide = true)]
    trust_remote_code: bool,
}

/// A model that was given in the harness's way.
#[derive(Debug, thiserror::Error)]
enum ModelError {
    #[error("the model is an argument of its own here, not `--model` with `--model_args`")]
    Harness { model: Option<String> },
    #[error("no model is given")]
    Missing,
}

impl Diagnose for ModelError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        let model = match self {
            Self::Harness { model: Some(model) } => model,
            _ => "MODEL",
        };
        vec![format!("write `billon eval {model} --tasks ...`; `peft=DIR` is `--adapter DIR`, `dtype` is `--weights`")]
    }
}

impl HarnessFlags {
    /// The model to evaluate.
    pub(super) fn model(&self, given: Option<&str>) -> Result<String> {
        if self.model.is_some() || self.model_args.is_some() {
            let pretrained = self.model_args.as_deref().unwrap_or("");
            let model = pretrained.split(',').find_map(|pair| pair.trim().strip_prefix("pretrained="));
            return Err(ModelError::Harness { model: model.map(str::to_owned) }.into());
        }
        given.map(str::to_owned).ok_or_else(|| ModelError::Missing.into())
    }

    /// Says of the flags that were given why they do nothing.
    pub(super) fn warn(&self, progress: Progress<'_>) {
        for (given, text) in [
            (self.log_samples, "`--log_samples` is not needed: samples are always written with `--out`"),
            (self.batch_size.is_some(), "`--batch_size` is not needed: batches follow `--batch-tokens`"),
            (self.trust_remote_code, "`--trust_remote_code` is not needed: no code of a model is ever run"),
        ] {
            if given {
                progress.warn(text.to_owned());
            }
        }
    }
}
