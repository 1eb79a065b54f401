//! `billon verify`: does a directory still hold what its lock says, and do its inputs give it again?

mod derive;
mod files;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::compute::merge::MergeKernels;
use crate::error::{Diagnose, Error, ErrorKind, Result};
use crate::event::Progress;
use crate::merge::output::lock::Lock;
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

/// Checks a directory against its lock. Problems are in the report, not errors.
///
/// # Errors
/// A missing or unreadable lock, read errors, cancellation.
pub fn verify(
    output: &Path,
    options: VerifyOptions,
    backend: &dyn MergeKernels,
    progress: Progress<'_>,
) -> Result<VerifyReport> {
    let lock = Lock::read(output)?;
    let mut report = VerifyReport { output: output.to_owned(), ..VerifyReport::default() };
    let pool = options.workers.pool("verify")?;
    files::check(output, &lock, &pool, &mut report, progress)?;
    match derive::derive(output, &lock, options, backend, &pool, &mut report, progress) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        // The inputs need not be at hand; the hashes above stand on their own.
        Err(error) => report.not_derived = Some(error.chain().join(": ")),
    }
    if lock.stages.is_empty() && report.not_derived.is_some() {
        report.problems.push("the lock has no resolved stages".to_owned());
    }
    if options.require_derived && (report.not_derived.is_some() || report.tensors_derived.is_empty()) {
        let reason = report.not_derived.as_deref().unwrap_or("no tensor was chosen");
        report.problems.push(format!("no tensor was recomputed, as --require-derived wants: {reason}"));
    }
    Ok(report)
}

/// The report as an error when something is wrong.
///
/// # Errors
/// [`VerifyError`] listing the problems.
pub(crate) fn require_clean(report: &VerifyReport) -> Result<()> {
    if report.problems.is_empty() {
        return Ok(());
    }
    Err(Error::from(VerifyError { output: report.output.clone(), problems: report.problems.clone() }))
}
