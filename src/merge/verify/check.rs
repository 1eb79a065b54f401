//! Runs a verification: files first, then what can be recomputed.

use std::path::Path;

use super::report::{VerifyError, VerifyOptions, VerifyReport};
use super::{derive, files};
use crate::compute::merge::MergeKernels;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Progress;
use crate::merge::output::lock::Lock;

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
