//! What can go wrong in training.

use std::path::PathBuf;

use crate::error::{Diagnose, ErrorKind};
use crate::model::DecoderError;

/// Why a training run can't start or go on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TrainError {
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    #[error("the loss of step {step} is not a number")]
    NotFinite { step: u64 },
    #[error(
        "the loss of step {step} is {loss:.3}, above {uniform:.3}, which guessing every token of the vocabulary evenly has"
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
            Self::Tensor(_) => ErrorKind::Internal,
            Self::Decoder(error) => error.kind(),
            Self::NotFinite { .. }
            | Self::WorseThanGuessing { .. }
            | Self::NothingTrained
            | Self::OutExists { .. }
            | Self::NothingToResume { .. } => ErrorKind::Input,
            Self::Checkpoint { .. } => ErrorKind::Mismatch,
            Self::Interrupted { .. } => ErrorKind::Cancelled,
            Self::Unsupported { .. } | Self::UnknownMetric { .. } => ErrorKind::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Decoder(error) => return error.hints(),
            Self::NotFinite { .. } => "lower learning_rate or lengthen the warm-up; the last checkpoint is intact",
            Self::WorseThanGuessing { .. } => {
                "the run diverged: lower learning_rate, or check the examples with --show-batch"
            }
            Self::NothingTrained => "look at the first example with --show-batch",
            Self::OutExists { .. } => "go on with --resume, start over with --force, or choose another --out",
            Self::NothingToResume { .. } => "start without --resume",
            Self::Checkpoint { .. } => {
                "resume with the recipe and data that the run began with, or start over with --force"
            }
            Self::Interrupted { .. } => "go on with --resume",
            Self::UnknownMetric { known, .. } => return vec![format!("known: {}", known.join(", "))],
            Self::Tensor(_) | Self::Unsupported { .. } => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
