//! Options and results of a verification.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::{Diagnose, ErrorKind};
use crate::parallel::Workers;

/// Options of a verification.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Tensors to derive again; all when there are fewer.
    pub sample: usize,
    /// Threads that derive tensors again.
    pub workers: Workers,
    /// An output of which no tensor could be derived again is a problem.
    pub require_derived: bool,
}

impl Default for VerifyOptions {
    /// The defaults of `billon verify`.
    fn default() -> Self {
        Self { sample: 16, workers: Workers::available(), require_derived: false }
    }
}

/// Result of a verification.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// The directory.
    pub output: PathBuf,
    /// Output files whose hash is right.
    pub files_verified: usize,
    /// Files without a hash in the lock; only their size was checked.
    pub files_without_hash: Vec<String>,
    /// Files in the directory that the lock does not know and that no loader reads.
    pub unknown_files: Vec<String>,
    /// Input files whose hash is right.
    pub inputs_verified: usize,
    /// Reason why tensors were not recomputed, if they were not.
    pub not_derived: Option<String>,
    /// Config, index and copied files recomputed and found equal.
    pub files_derived: Vec<String>,
    /// Tensors recomputed and found equal.
    pub tensors_derived: Vec<String>,
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

/// Something in the directory is not what the lock says.
#[derive(Debug, thiserror::Error)]
#[error("{} does not match its lock: {}", output.display(), problems.join("; "))]
pub(crate) struct VerifyError {
    /// The directory.
    pub output: PathBuf,
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

impl Diagnose for VerifyError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Verification
    }
}
