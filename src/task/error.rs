//! Reasons why a task can't be used.

use std::io;
use std::path::PathBuf;

use crate::error::{Diagnose, ErrorKind};
use crate::tokenizer::TokenizerError;
use crate::yaml::RecipeError;

/// Reasons why a task can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TaskError {
    #[error(transparent)]
    File(#[from] RecipeError),
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("there is no task, group, tag or file `{name}`")]
    Unknown { name: String, nearest: Option<String>, known: Vec<String>, unread: Vec<String> },
    #[error("group `{group}` names `{name}`, which is no task, group or tag")]
    UnknownMember { group: String, name: String, nearest: Option<String> },
    #[error("group `{group}` contains itself")]
    GroupCycle { group: String },
    #[error("{} has no task files (*.yml, *.yaml)", path.display())]
    EmptyFolder { path: PathBuf },
    #[error("task `{task}` is asked for twice, with different settings")]
    TwoVersions { task: String },
    #[error("task `{task}`: data file `{file}` of split `{split}` was not found; looked in {}", list(places))]
    NoDataFile { task: String, split: String, file: String, places: Vec<PathBuf>, data_dir: bool },
    #[error("task `{task}`: split `{split}` has no data file")]
    NoSplit { task: String, split: String, known: Vec<String> },
    #[error("{}{}: {message}", path.display(), numbered(*line))]
    Row { path: PathBuf, line: usize, message: String },
    #[error("{}: {rows} rows have {columns} different columns between them, and share few", list(paths))]
    TooWide { paths: Vec<PathBuf>, rows: usize, columns: usize },
    #[error("{} has no documents", path.display())]
    Empty { path: PathBuf },
    #[error("{}: this build does not read parquet files", path.display())]
    NoParquet { path: PathBuf },
    #[error("task `{task}`, document {document}: {key}: {message}")]
    Document { task: String, document: usize, key: &'static str, message: String, hint: Option<String> },
    #[error("task `{task}`: {wanted} few-shot examples are wanted, but only {available} documents can be shown")]
    FewShotPool { task: String, wanted: usize, available: usize },
    #[error("task `{task}`: {message}")]
    Settings { task: String, message: String },
    #[error(transparent)]
    Chat(#[from] TokenizerError),
}

/// A line's number after a colon; nothing for the whole file.
fn numbered(line: usize) -> String {
    if line == 0 { String::new() } else { format!(":{line}") }
}

/// Names that fit a message; the others are counted.
pub(super) fn several(names: &[String]) -> String {
    const SHOWN: usize = 40;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(SHOWN);
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Diagnose for TaskError {
    fn is_laid_out(&self) -> bool {
        matches!(self, Self::File(_))
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind(),
            Self::Chat(error) => error.kind(),
            Self::Io { .. } => ErrorKind::Io,
            Self::NoDataFile { .. }
            | Self::Row { .. }
            | Self::TooWide { .. }
            | Self::Empty { .. }
            | Self::NoParquet { .. }
            | Self::Document { .. } => ErrorKind::Input,
            _ => ErrorKind::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::File(error) => return error.hints(),
            Self::Chat(error) => return error.hints(),
            Self::Unknown { nearest: Some(nearest), .. } | Self::UnknownMember { nearest: Some(nearest), .. } => {
                format!("did you mean `{nearest}`?")
            }
            Self::Unknown { known, unread, .. } => {
                let mut hints = vec![format!("known: {}", several(known))];
                if !unread.is_empty() {
                    hints.push(format!("these files cannot be read as tasks: {}", several(unread)));
                }
                return hints;
            }
            Self::NoDataFile { data_dir: false, .. } => {
                "say where the data are: --data DIR, or BILLON_DATA in the environment".to_owned()
            }
            Self::NoDataFile { .. } => {
                "recipes/tasks/README.md says where each data set comes from and how its files are named".to_owned()
            }
            Self::TooWide { .. } => {
                "a split is a table: put what differs from row to row into one column, as a list or an object"
                    .to_owned()
            }
            Self::NoSplit { known, .. } => format!("data_files has: {}", known.join(", ")),
            Self::NoParquet { .. } => "build with `--features parquet`, or convert the file to JSON lines".to_owned(),
            Self::Document { hint: Some(hint), .. } => hint.clone(),
            Self::FewShotPool { .. } => "ask for fewer (--num-fewshot), or name a larger `fewshot_split`".to_owned(),
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
