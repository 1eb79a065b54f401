//! Reason why the training log failed.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Diagnose, ErrorKind};

/// A log can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the training log {}", path.display())]
pub(crate) struct LogError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl LogError {
    pub(super) fn new(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self { what, path, source }
    }
}

impl Diagnose for LogError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Io
    }

    fn hints(&self) -> Vec<String> {
        vec!["free space or fix the directory's permissions, then go on with `--resume`".to_owned()]
    }
}
