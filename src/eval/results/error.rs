//! Faults of results files.

use std::io;
use std::path::PathBuf;

use crate::error::{Diagnose, ErrorKind};

/// Reasons why results cannot be read.
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
    #[error("{unit} {line} of {} has no `{key}`, or it is not {expected}", path.display())]
    SampleKey { path: PathBuf, unit: &'static str, line: usize, key: String, expected: &'static str },
    #[error("{} holds no sample", path.display())]
    EmptySamples { path: PathBuf },
    #[error("{} holds {found} samples of task `{task}`, and its results are of {expected}", path.display())]
    Incomplete { task: String, path: PathBuf, found: usize, expected: u64 },
    #[error("several samples files beside {} may be those of task `{task}`: {}", path.display(), list(files))]
    SeveralSamples { task: String, path: PathBuf, files: Vec<PathBuf> },
    #[error("{} holds results of several models: {}", path.display(), list(files))]
    SeveralModels { path: PathBuf, files: Vec<PathBuf> },
    #[error("task `{task}` has no samples file beside {}", path.display())]
    NoSamples { task: String, path: PathBuf },
    #[error("{} has no task `{task}`", path.display())]
    NoTask { task: String, path: PathBuf, known: Vec<String> },
    #[error("task `{task}` of {} has no metric `{metric}`", path.display())]
    NoMetric { task: String, metric: String, path: PathBuf, known: Vec<String> },
    #[error("task `{task}` of {} lacks the metric `{metric}` of the other results", path.display())]
    LacksMetric { task: String, metric: String, path: PathBuf, known: Vec<String> },
    #[error("`{metric}` of task `{task}` is not a number in {}", path.display())]
    NotANumber { task: String, metric: String, path: PathBuf, others: Vec<String> },
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
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
                    "a verdict needs every document: evaluate with samples (lm-eval: --log_samples)".to_owned(),
                    "`billon compare` sets the plain scores side by side".to_owned(),
                ]
            }
            Self::Incomplete { .. } => {
                vec!["the samples file is cut short: copy it again, or evaluate again".to_owned()]
            }
            Self::SeveralModels { .. } => vec!["name one of these files".to_owned()],
            Self::NotANumber { others, .. } if !others.is_empty() => {
                vec![format!("name another metric with --metric: {}", others.join(" "))]
            }
            Self::NoTask { known, .. } => vec![format!("its tasks: {}", known.join(", "))],
            Self::LacksMetric { known, .. } => vec![
                format!("its metrics: {}", known.join(" ")),
                "name a metric that both hold with --metric".to_owned(),
            ],
            Self::NoMetric { known, .. } => vec![format!("its metrics: {}", known.join(" "))],
            _ => Vec::new(),
        }
    }
}
