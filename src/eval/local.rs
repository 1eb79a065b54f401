//! A model on this machine: the decoder behind the [`LanguageModel`] trait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::language_model::{Done, GenerateRequest, Generation, LanguageModel, Score, ScoreRequest};
use super::{local_generate, local_score};
use crate::error::{Cancelled, Error, Result};
use crate::event::{CancelFlag, Progress};
use crate::model::Decoder;

/// Turns produced tokens into text, special tokens left out.
pub(crate) type Detokenize = Box<dyn Fn(&[u32]) -> Result<String> + Send + Sync>;

/// Options of running a local model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalOptions {
    /// Tokens that one thread runs at a time.
    pub batch_tokens: usize,
    /// Seed of sampling.
    pub seed: u64,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { batch_tokens: 512, seed: 0 }
    }
}

/// The decoder as a language model. It runs as many threads as the `rayon` pool
/// has that it is called in.
pub struct LocalModel {
    pub(super) decoder: Arc<Decoder>,
    pub(super) detokenize: Detokenize,
    pub(super) options: LocalOptions,
}

impl LocalModel {
    /// A model and what turns its tokens into text.
    #[must_use]
    pub fn new(decoder: impl Into<Arc<Decoder>>, detokenize: Detokenize, options: LocalOptions) -> Self {
        Self { decoder: decoder.into(), detokenize, options }
    }

    /// Decoder that scores and generates.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}

impl LanguageModel for LocalModel {
    fn max_length(&self) -> usize {
        self.decoder.config().max_position_embeddings
    }

    fn score(&self, requests: &[ScoreRequest], done: Done<'_, Score>, progress: Progress<'_>) -> Result<()> {
        local_score::score(self, requests, done, progress)
    }

    fn generate(&self, requests: &[GenerateRequest], done: Done<'_, Generation>, progress: Progress<'_>) -> Result<()> {
        local_generate::generate(self, requests, done, progress)
    }
}

/// Runs jobs `0..count` on every thread of the pool, in order of their numbers, until one fails.
pub(super) fn in_threads(count: usize, cancel: &CancelFlag, job: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let result = if cancel.is_cancelled() { Err(Cancelled.into()) } else { job(index) };
            if let Err(error) = result {
                // No thread takes another job.
                next.store(count, Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return;
            }
        }
    };
    // Plain threads: a pool's worker that waits may take up another job, and with it a lock that it
    // holds already. A thread that can't be had is done without.
    std::thread::scope(|scope| {
        for _ in 1..rayon::current_num_threads().min(count) {
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
