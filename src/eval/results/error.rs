//! What can be wrong with results files.

use std::io;
use std::path::PathBuf;

use crate::error::{Diagnose, ErrorKind};

/// Why results cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ResultsError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("there are no results in {}", path.display())]
    None { path: PathBuf },
    #[error("{} is not JSON", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("line {line} of {} is not JSON", path.display())]
    Line { path: PathBuf, line: usize, source: serde_json::Error },
    #[error("{} has no `{key}`, or it is not {expected}", path.display())]
    Key { path: PathBuf, key: String, expected: &'static str },
    #[error("line {line} of {} has no `{key}`, or it is not {expected}", path.display())]
    SampleKey { path: PathBuf, line: usize, key: String, expected: &'static str },
    #[error("task `{task}` has no samples file beside {}", path.display())]
    NoSamples { task: String, path: PathBuf },
    #[error("{} has no task `{task}`", path.display())]
    NoTask { task: String, path: PathBuf, known: Vec<String> },
    #[error("task `{task}` of {} has no metric `{metric}`", path.display())]
    NoMetric { task: String, metric: String, path: PathBuf, known: Vec<String> },
}

impl Diagnose for ResultsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() != io::ErrorKind::NotFound => ErrorKind::Io,
            Self::NoTask { .. } | Self::NoMetric { .. } => ErrorKind::Usage,
            _ => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::None { .. } => {
                vec!["name a results_*.json file, or a directory that holds one or whose sub-directories do".to_owned()]
            }
            Self::NoSamples { .. } => {
                vec![
                    "a paired comparison needs every document: evaluate with samples (lm-eval: --log_samples)"
                        .to_owned(),
                ]
            }
            Self::NoTask { known, .. } => vec![format!("its tasks: {}", known.join(", "))],
            Self::NoMetric { known, .. } => vec![format!("its metrics: {}", known.join(" "))],
            _ => Vec::new(),
        }
    }
}
