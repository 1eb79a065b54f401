//! Worker threads under a limit on processes: fewer than asked for, or an error, never a panic.

use std::num::NonZero;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::error::{Diagnose, ErrorKind};

/// Stack of a worker: that of a main thread, since workers run whole commands and render templates.
const STACK: usize = 8 << 20;

/// Not even one worker thread can be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a worker thread")]
pub(crate) struct ThreadsError {
    source: rayon::ThreadPoolBuildError,
}

impl Diagnose for ThreadsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Io
    }

    fn hints(&self) -> Vec<String> {
        vec!["raise the limit on processes (`ulimit -u`, or pids of the control group)".to_owned()]
    }
}

/// A pool of `threads` workers named `name-0` and so on, or of as many as the system gives. No result depends on the
/// number.
///
/// # Errors
/// [`ThreadsError`] when there can't be one.
pub(crate) fn pool(threads: usize, name: &'static str) -> Result<rayon::ThreadPool, ThreadsError> {
    let mut threads = threads.max(1);
    loop {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK);
        match builder.thread_name(move |index| format!("{name}-{index}")).build() {
            Ok(pool) => return Ok(pool),
            Err(source) if threads == 1 => return Err(ThreadsError { source }),
            Err(_) => threads /= 2,
        }
    }
}

/// Starts a thread of a scope; `None` when the system gives none, so that the caller does the work itself.
pub(crate) fn spawn_scoped<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).ok()
}

/// Threads of this machine that the process may use.
#[must_use]
pub(crate) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
