//! Threads of the program: the only place that starts any.
//!
//! [`Workers`] is the number of threads that work may use. It is passed to whoever splits work; there is no pool of
//! the process and no default that a variable of the environment sets. Jobs are numbered: results are kept by number and sums
//! are formed in the order of the numbers, so that nothing depends on how many threads there are.
//!
//! A thread that the system refuses (`ulimit -u`) is done without: fewer work, the calling one at least. Only a
//! [`Pool`], whose threads stay from call to call, is an error when it can have none.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
pub(crate) use std::thread::{Scope, ScopedJoinHandle, Thread, park, scope, sleep};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};

use crate::error::{Diagnose, ErrorKind};

/// Stack of a worker: that of a main thread, since workers render templates.
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

/// The threads that work may use, the calling one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    threads: NonZero<usize>,
}

impl Default for Workers {
    /// The calling thread alone.
    fn default() -> Self {
        Self { threads: NonZero::<usize>::MIN }
    }
}

impl Workers {
    /// So many threads, one at least.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { threads: NonZero::new(threads).unwrap_or(NonZero::<usize>::MIN) }
    }

    /// As many threads as the process may run at the same time.
    #[must_use]
    pub fn available() -> Self {
        std::thread::available_parallelism().map_or_else(|_| Self::default(), |threads| Self { threads })
    }

    /// The number of threads.
    #[must_use]
    pub fn threads(self) -> usize {
        self.threads.get()
    }

    /// Runs `work` on this thread and, at the same time, on as many others as there may be and `most` allows.
    ///
    /// Threads of their own and no pool's: a pool's worker that waits takes up another job, and with it a lock that it may
    /// hold already.
    fn run(self, most: usize, work: impl Fn() + Sync) {
        let work = &work;
        scope(|scope| {
            let start = |_| Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok();
            let others: Vec<_> = (1..self.threads().min(most)).map_while(start).collect();
            work();
            for thread in others {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
    }

    /// Runs jobs `0..count` in order of their numbers, but for what runs at the same time. After a failure no further
    /// job begins.
    ///
    /// # Errors
    /// The first error of a job.
    pub(crate) fn for_each_index<E: Send>(
        self,
        count: usize,
        job: impl Fn(usize) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<E>> = Mutex::new(None);
        self.run(count, || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return;
                }
                if let Err(error) = job(index) {
                    next.store(count, Ordering::Relaxed);
                    lock(&failure).get_or_insert(error);
                    return;
                }
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// The results of jobs `0..count`, in order of their numbers.
    pub(crate) fn map<T: Send>(self, count: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let found: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
        self.run(count, || {
            let mut own = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    break;
                }
                own.push((index, job(index)));
            }
            lock(&found).append(&mut own);
        });
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_unstable_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, result)| result).collect()
    }

    /// The results of jobs `0..count`, in order of their numbers, unless one fails.
    ///
    /// # Errors
    /// The first error of a job.
    pub(crate) fn try_map<T: Send, E: Send>(
        self,
        count: usize,
        job: impl Fn(usize) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, E> {
        let found: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
        self.for_each_index(count, |index| {
            let result = job(index)?;
            lock(&found).push((index, result));
            Ok(())
        })?;
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(found.into_iter().map(|(_, result)| result).collect())
    }

    /// Runs a job for every item, which it gets with its number. After a failure no further job begins.
    ///
    /// # Errors
    /// The first error of a job.
    pub(crate) fn for_each_mut<T: Send, E: Send>(
        self,
        items: &mut [T],
        job: impl Fn(usize, &mut T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let count = items.len();
        let rest = Mutex::new(items.iter_mut().enumerate());
        self.for_each_index(count, |_| {
            let next = lock(&rest).next();
            next.map_or(Ok(()), |(index, item)| job(index, item))
        })
    }

    /// Both results, computed at the same time where there is a second thread.
    pub(crate) fn join<A: Send, B>(self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B) -> (A, B) {
        if self.threads() == 1 {
            return (a(), b());
        }
        // Taken by whichever thread does it.
        let a = Mutex::new(Some(a));
        let run = || {
            let taken = lock(&a).take();
            taken.map(|a| a())
        };
        scope(|scope| {
            let other = Builder::new().stack_size(STACK).spawn_scoped(scope, run).ok();
            let b = b();
            let a = match other {
                Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                None => run(),
            };
            (a.expect("one thread takes it, once"), b)
        })
    }

    /// Runs jobs `0..count` and hands their results to `add` in the order of their numbers.
    ///
    /// Of the results, `ahead` may wait for their turn while their threads go on; beyond that, threads wait. A job is given a
    /// result to fill, made by `empty` or left over by `add`, and scratch space of its thread.
    ///
    /// # Errors
    /// The first error of a job.
    pub(crate) fn ordered_reduce<T: Send, S: Default, E: Send>(
        self,
        count: usize,
        ahead: usize,
        empty: impl Fn() -> T + Sync,
        job: impl Fn(usize, &mut T, &mut S) -> Result<(), E> + Sync,
        add: impl FnMut(&mut T) + Send,
    ) -> Result<(), E> {
        let next = AtomicUsize::new(0);
        let shared = OrderedAccumulator { next: 0, failure: None, add, early: BTreeMap::new(), spare: vec![] };
        let shared = Mutex::new(shared);
        let changed = Condvar::new();
        self.run(count, || {
            let mut scratch = S::default();
            let mut accumulator = lock(&shared);
            loop {
                // Whatever is early waits for a job that is under way, so that this ends.
                while accumulator.early.len() > ahead && accumulator.failure.is_none() {
                    accumulator = changed.wait(accumulator).unwrap_or_else(PoisonError::into_inner);
                }
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count || accumulator.failure.is_some() {
                    return;
                }
                let mut own = accumulator.spare.pop().unwrap_or_else(&empty);
                drop(accumulator);
                let result = job(index, &mut own, &mut scratch);
                accumulator = lock(&shared);
                match result {
                    Ok(()) => accumulator.take(index, own),
                    Err(error) => accumulator.failure = accumulator.failure.take().or(Some(error)),
                }
                changed.notify_all();
            }
        });
        shared.into_inner().unwrap_or_else(PoisonError::into_inner).failure.map_or(Ok(()), Err)
    }

    /// Threads that stay from call to call, named `name-0` and so on, or as many as the system gives.
    ///
    /// # Errors
    /// [`ThreadsError`] when there can't be one.
    pub(crate) fn pool(self, name: &'static str) -> Result<Pool, ThreadsError> {
        let mut threads = self.threads();
        loop {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK);
            match builder.thread_name(move |index| format!("{name}-{index}")).build() {
                Ok(threads) => return Ok(Pool { threads }),
                Err(source) if threads == 1 => return Err(ThreadsError { source }),
                Err(_) => threads /= 2,
            }
        }
    }

    /// Runs `work`, whose libraries split it by rayon, on these threads instead of a pool of the process.
    ///
    /// # Errors
    /// [`ThreadsError`] when there can't be one.
    pub(crate) fn install<R: Send>(self, work: impl FnOnce() -> R + Send) -> Result<R, ThreadsError> {
        Ok(self.pool("worker")?.threads.install(work))
    }
}

/// Results that wait for those of lower numbers, and where they are added.
struct OrderedAccumulator<T, E, F> {
    next: usize,
    failure: Option<E>,
    add: F,
    early: BTreeMap<usize, T>,
    spare: Vec<T>,
}

impl<T, E, F: FnMut(&mut T)> OrderedAccumulator<T, E, F> {
    fn take(&mut self, index: usize, own: T) {
        self.early.insert(index, own);
        while let Some(mut own) = self.early.remove(&self.next) {
            (self.add)(&mut own);
            self.spare.push(own);
            self.next += 1;
        }
    }
}

/// A lock whose holder panicked is taken all the same: the panic goes on when its thread is joined.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Worker threads for work that is split again and again.
#[derive(Debug)]
pub(crate) struct Pool {
    threads: rayon::ThreadPool,
}

impl Pool {
    /// Runs `work` once on every thread at the same time.
    pub(crate) fn broadcast(&self, work: impl Fn() + Sync) {
        self.threads.broadcast(|_| work());
    }

    /// What `job` makes of every item, in their order. Jobs may split their own work the same way.
    pub(crate) fn map_mut<T: Send, R: Send>(&self, items: &mut [T], job: impl Fn(usize, &mut T) -> R + Sync) -> Vec<R> {
        let job = |(index, item): (usize, &mut T)| job(index, item);
        self.threads.install(|| items.par_iter_mut().enumerate().map(job).collect())
    }
}

/// Starts a thread beside the work of a scope; `None` when the system gives none, so that the caller does without.
pub(crate) fn spawn_scoped<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).ok()
}

/// Starts a thread that nobody waits for.
///
/// # Errors
/// The system gives none.
pub(crate) fn spawn_detached(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    Ok(Builder::new().name(name.to_owned()).spawn(work)?.thread().clone())
}

/// Runs `work` on a stack of its own, of so many bytes.
///
/// # Errors
/// The system gives no thread with such a stack.
pub(crate) fn on_stack<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    scope(|scope| {
        let thread = Builder::new().stack_size(bytes).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Keeps candle to the thread that calls it. For elementwise operations of 65,536 elements or more it would otherwise
/// hand pieces to a pool of its own, one for the process, which our threads would wait for in turn. This variable is
/// its only switch; it goes with candle's tensors.
pub(crate) fn disable_candle_threads() {
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: this is the first thing that the process does; no other thread reads the environment.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn results_keep_the_order_of_their_numbers() {
        for threads in [0, 1, 2, 5] {
            let workers = Workers::new(threads);
            assert_eq!(workers.map(100, |index| index * index), (0..100).map(|i| i * i).collect::<Vec<_>>());
            let halves = workers.try_map(9, |index| if index < 9 { Ok(index) } else { Err(index) });
            assert_eq!(halves, Ok((0..9).collect()));
            let mut items = vec![0; 40];
            let numbered = workers.for_each_mut(&mut items, |index, item| {
                *item = index;
                Ok::<_, ()>(())
            });
            assert_eq!((numbered, items), (Ok(()), (0..40).collect()));
            assert_eq!(workers.join(|| 1, || 2), (1, 2));
            assert!(workers.map(0, |index| index).is_empty());
        }
    }

    #[test]
    fn after_a_failure_no_further_job_begins() {
        for threads in [1, 4] {
            let begun = AtomicU64::new(0);
            let result = Workers::new(threads).for_each_index(10_000, |index| {
                begun.fetch_add(1, Ordering::Relaxed);
                if index == 3 { Err(index) } else { Ok(()) }
            });
            assert_eq!(result, Err(3));
            assert!(begun.into_inner() < 10_000);
        }
    }

    /// Sums of floats show the order in which they were formed.
    #[test]
    fn reductions_add_in_order_whatever_the_threads() {
        let sum = |threads, ahead| {
            let mut sum = 0.0_f32;
            let job = |index: usize, own: &mut f32, uses: &mut u32| {
                *uses += 1;
                *own = 1.0 / (index as f32 + 1.0);
                Ok::<_, ()>(())
            };
            Workers::new(threads).ordered_reduce(1_000, ahead, || 0.0, job, |own| sum += *own).unwrap();
            sum.to_bits()
        };
        let serial = (0..1_000).fold(0.0_f32, |sum, index| sum + 1.0 / (index as f32 + 1.0)).to_bits();
        for (threads, ahead) in [(1, 0), (3, 0), (3, 2), (8, 8)] {
            assert_eq!(sum(threads, ahead), serial, "{threads} threads");
        }
        let failed = Workers::new(3).ordered_reduce(
            9,
            0,
            || (),
            |i, (), (): &mut ()| if i == 5 { Err(i) } else { Ok(()) },
            |()| (),
        );
        assert_eq!(failed, Err(5));
    }

    #[test]
    fn a_panic_of_a_worker_reaches_the_caller() {
        let result = std::panic::catch_unwind(|| {
            Workers::new(3).map(8, |index| assert_ne!(index, 5, "job 5"));
        });
        let payload = result.unwrap_err();
        assert!(payload.downcast_ref::<String>().is_some_and(|text| text.contains("job 5")));
    }

    #[test]
    fn pools_map_in_order_and_within_jobs() {
        let pool = Workers::new(2).pool("test").unwrap();
        let mut rows = vec![vec![1, 2], vec![3], vec![]];
        let sums =
            pool.map_mut(&mut rows, |index, row| (index, pool.map_mut(row, |_, item| *item).into_iter().sum::<i32>()));
        assert_eq!(sums, [(0, 3), (1, 3), (2, 0)]);
        assert_eq!(Workers::new(2).install(|| 7).unwrap(), 7);
    }
}
