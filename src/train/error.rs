//! Errors of training.

use std::path::PathBuf;

use crate::dtype::DType;
use crate::error::{Diagnose, ErrorKind};
use crate::model::DecoderError;

/// Reasons why a training run can't start or go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum TrainError {
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    #[error("the loss of step {step} is not a number")]
    NotFinite { step: u64 },
    #[error("parameter `{name}` has become infinite or NaN{}", if *dtype == DType::F32 { "" } else { " in the base model's dtype" })]
    Overflow { name: String, dtype: DType },
    #[error(
        "the mean loss of the steps up to {step} is {loss:.3} and does not fall; guessing every token of the vocabulary evenly has {uniform:.3}"
    )]
    WorseThanGuessing { step: u64, loss: f64, uniform: f64 },
    #[error("no row of the data carries loss")]
    NothingTrained,
    #[error("{} holds a training run already", out.display())]
    OutExists { out: PathBuf },
    #[error("{} has no checkpoint to resume from", out.display())]
    NothingToResume { out: PathBuf },
    #[error("{}: {reason}", path.display())]
    Checkpoint { path: PathBuf, reason: String },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{} was written by another version of billon ({}layout {format}, this one reads {current})",
        path.display(), wrote.as_ref().map_or_else(String::new, |version| format!("{version}, "))
    )]
    OldCheckpoint { path: PathBuf, wrote: Option<String>, format: u64, current: u64 },
    #[error("{}: the run began with another recipe, model or data: {}", folder.display(), changes.join("; "))]
    OtherRun { folder: PathBuf, changes: Vec<String> },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the state of the run can't be written")]
    State { source: serde_json::Error },
    #[error("the recipe contradicts the adapter {} that it starts from: {}", adapter.display(), conflicts.join("; "))]
    InitFrom { adapter: PathBuf, conflicts: Vec<String> },
    #[error("`modules_to_save` names `{name}`, which is no module of the model")]
    UnknownModule { name: String, nearest: Option<String> },
    #[error("interrupted after step {step}; {} can be resumed", out.display())]
    Interrupted { step: u64, out: PathBuf },
    #[error("`{key}` is not supported: {reason}")]
    Unsupported { key: &'static str, reason: String },
    #[error("`metric_for_best_model` is `{metric}`, which no evaluation gives")]
    UnknownMetric { metric: String, known: Vec<String> },
}

impl Diagnose for TrainError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Tensor(_) | Self::State { .. } => ErrorKind::Internal,
            Self::Decoder(error) => error.kind(),
            Self::NotFinite { .. }
            | Self::Overflow { .. }
            | Self::WorseThanGuessing { .. }
            | Self::NothingTrained
            | Self::OutExists { .. }
            | Self::NothingToResume { .. }
            | Self::Damaged { .. }
            | Self::OldCheckpoint { .. } => ErrorKind::Input,
            Self::Read { .. } => ErrorKind::Io,
            Self::Checkpoint { .. } | Self::OtherRun { .. } | Self::UnknownModule { .. } => ErrorKind::Mismatch,
            Self::Interrupted { .. } => ErrorKind::Cancelled,
            Self::Unsupported { .. } | Self::UnknownMetric { .. } | Self::InitFrom { .. } => ErrorKind::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Decoder(error) => return error.hints(),
            Self::NotFinite { .. } | Self::Overflow { .. } => {
                "lower learning_rate or lengthen the warm-up; the last checkpoint is intact"
            }
            Self::WorseThanGuessing { .. } => {
                "the run diverged: lower learning_rate, or check the examples with --show-batch"
            }
            Self::NothingTrained => "look at the first example with --show-batch",
            Self::OutExists { .. } => "go on with --resume, start over with --force, or choose another --out",
            Self::NothingToResume { .. } => "start without --resume",
            Self::Checkpoint { .. } | Self::OtherRun { .. } => {
                "resume with the recipe, model and data that the run began with, or start over with --force"
            }
            Self::Damaged { .. } => "there is no earlier checkpoint to go on from: start over with --force",
            Self::OldCheckpoint { .. } => "finish the run with the version that began it, or start over with --force",
            Self::InitFrom { .. } => {
                "leave these keys out: the adapter's own values hold; or train a new adapter without `init_from`"
            }
            Self::UnknownModule { nearest: Some(nearest), .. } => return vec![format!("did you mean `{nearest}`?")],
            Self::UnknownModule { nearest: None, .. } => {
                "name linear layers, norms, `embed_tokens` or `lm_head`, as `billon inspect` lists them"
            }
            Self::Interrupted { .. } => "go on with --resume",
            Self::UnknownMetric { known, .. } => return vec![format!("known: {}", known.join(", "))],
            Self::Tensor(_) | Self::Unsupported { .. } | Self::Read { .. } | Self::State { .. } => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
