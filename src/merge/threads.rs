//! The threads that a merge runs on.

use crate::error::{Diagnose, Error, ErrorKind, Result};

/// Worker threads of a merge.
///
/// # Errors
/// When the operating system gives none.
pub(super) fn thread_pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .thread_name(|i| format!("merge-{i}"))
        .build()
        .map_err(|source| Error::from(ThreadError { source }))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot start worker threads")]
struct ThreadError {
    source: rayon::ThreadPoolBuildError,
}

impl Diagnose for ThreadError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Io
    }
}
