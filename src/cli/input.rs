//! Text files that the user named.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Diagnose, ErrorKind, Result};
use crate::storage::input;

/// A recipe or other text file that the user named.
pub(super) fn read_text(path: &Path) -> Result<String> {
    input::read_text(path, input::TEXT_BYTES).map_err(|source| ReadError { path: path.into(), source }.into())
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
struct ReadError {
    path: PathBuf,
    source: io::Error,
}

impl Diagnose for ReadError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }
}
