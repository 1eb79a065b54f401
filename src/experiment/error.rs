//! Errors of an experiment, besides those of its steps.

use std::path::PathBuf;

use crate::error::{Diagnose, Error, ErrorKind};

/// Reasons why an experiment can't be read or run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum ExperimentError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} holds no experiment", path.display())]
    Empty { path: PathBuf },
    #[error("there is no step `{name}`")]
    NoStep { name: String, nearest: Option<String>, known: Vec<String> },
    #[error("the experiment cannot start: {}", missing.join("; "))]
    Missing { missing: Vec<String> },
    #[error("step `{step}` failed: {}", chain.join(": "))]
    Step { step: String, chain: Vec<String>, kind: ErrorKind, advice: Vec<String>, finished: usize },
    #[error("step `{step}` left no {}", path.display())]
    NoOutput { step: String, path: PathBuf },
    #[error("{} was written by a later version of billon (layout {format}, this one reads {current})", path.display())]
    NewRecord { path: PathBuf, format: u64, current: u64 },
    #[error("the record of step `{step}` can't be written")]
    Unwritable { step: String, source: serde_json::Error },
    #[error("task `{task}` has no {what}")]
    NoSplit { task: String, what: &'static str },
    #[error("task `{task}` is listed as {first} and as {second}")]
    TwoRoles { task: String, first: &'static str, second: &'static str },
    #[error("row `{row}` has no results")]
    NotEvaluated { row: String },
    #[error("no candidate of merge `{merge}` has a validation score")]
    NothingToSelect { merge: String },
    #[error("{} and {} change different modules, or modules of different shapes ({module})", first, second)]
    Shapes { first: String, second: String, module: String },
    #[error("the report's plot `{plot}` could not be drawn: {reason}")]
    Plot { plot: String, reason: String },
}

impl ExperimentError {
    /// A step's failure with what it said.
    #[must_use]
    pub(crate) fn step(step: &str, error: &Error, finished: usize) -> Self {
        Self::Step { step: step.to_owned(), chain: error.chain(), kind: error.kind(), advice: error.hints(), finished }
    }
}

impl Diagnose for ExperimentError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Empty { .. } | Self::NoStep { .. } | Self::TwoRoles { .. } => ErrorKind::Usage,
            Self::Step { kind, .. } => *kind,
            Self::Missing { .. } | Self::NoSplit { .. } | Self::NewRecord { .. } => ErrorKind::Input,
            Self::Shapes { .. } => ErrorKind::Mismatch,
            Self::NoOutput { .. }
            | Self::Unwritable { .. }
            | Self::NotEvaluated { .. }
            | Self::NothingToSelect { .. }
            | Self::Plot { .. } => ErrorKind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoStep { nearest: Some(name), .. } => vec![format!("did you mean `{name}`?")],
            Self::NoStep { known, .. } => vec![format!("steps: {}", known.join(", "))],
            Self::Step { advice, finished, .. } => {
                let mut hints = advice.clone();
                hints.push(format!("the {finished} finished steps are kept: the same command goes on from here"));
                hints
            }
            Self::Missing { .. } => {
                vec!["give the model's directory with --base-model and the tasks' data with --data".to_owned()]
            }
            Self::NoSplit { .. } => {
                vec!["leave `select` out and evaluate every candidate, or give the task that split".to_owned()]
            }
            Self::NewRecord { .. } => vec!["use that version, or delete the file: its step then runs again".to_owned()],
            _ => Vec::new(),
        }
    }
}
