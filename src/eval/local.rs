//! A model on this machine: the decoder behind the [`LanguageModel`] trait.
//!
//! Requests with one context are one prompt. Prompts are sorted, so that what they have in common is
//! computed once (`prefix_cache`), and cut into batches by a token budget, which
//! threads take in turn; each batch runs on one thread. A prompt is read once, and its continuations
//! go on from its keys and values side by side. Logits exist only for rows that are scored, a few at
//! a time. None of this shows in the scores: a row's arithmetic knows nothing of its batch.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::language_model::{Done, GenerateRequest, Generation, LanguageModel, Score, ScoreRequest};
use super::local_generate;
use super::prefix_cache::{PrefixCache, prefill};
use crate::error::{Cancelled, Diagnose, Error, ErrorKind, Result};
use crate::event::{CancelFlag, Event, Progress};
use crate::model::{Decoder, KvBlock, RopeFactors, Segment};

/// Turns produced tokens into text, special tokens left out.
pub type Detokenize = Box<dyn Fn(&[u32]) -> Result<String> + Send + Sync>;

/// How a local model runs.
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

#[derive(Debug, thiserror::Error)]
#[error("request {index} has no context: a model needs one token to start from")]
struct EmptyContext {
    index: usize,
}

impl Diagnose for EmptyContext {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

impl LocalModel {
    /// A model and what turns its tokens into text.
    #[must_use]
    pub fn new(decoder: impl Into<Arc<Decoder>>, detokenize: Detokenize, options: LocalOptions) -> Self {
        Self { decoder: decoder.into(), detokenize, options }
    }

    /// The decoder.
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
        progress.cancel.check()?;
        let prompts = self.prompts(requests, done, progress)?;
        let keys: Vec<(RopeFactors, &[u32])> = prompts.iter().map(|prompt| (prompt.factors, prompt.context)).collect();
        let cache = PrefixCache::new(&self.decoder, &keys, self.options.batch_tokens);
        let batches = self.batches(&prompts, &cache, requests);
        in_threads(batches.len(), progress.cancel, |batch| {
            let range = batches.get(batch).cloned().unwrap_or_default();
            Scoring { model: self, requests, prompts: &prompts, cache: &cache, done, progress }.run(range)
        })
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

/// Requests with one context.
struct Prompt<'a> {
    factors: RopeFactors,
    context: &'a [u32],
    requests: Vec<usize>,
}

impl LocalModel {
    /// Groups and sorts the requests; what needs no model is answered here.
    fn prompts<'a>(
        &self,
        requests: &'a [ScoreRequest],
        done: Done<'_, Score>,
        progress: Progress<'_>,
    ) -> Result<Vec<Prompt<'a>>> {
        let mut keyed = Vec::with_capacity(requests.len());
        let mut answered = 0;
        for (index, request) in requests.iter().enumerate() {
            if request.context.is_empty() {
                return Err(EmptyContext { index }.into());
            }
            if request.continuation.is_empty() {
                done(index, Score { logprob: 0.0, is_greedy: true });
                answered += 1;
                continue;
            }
            // The last token is scored but never read.
            let positions = request.context.len() + request.continuation.len() - 1;
            keyed.push((self.decoder.rope_factors(positions), request.context.as_slice(), index));
        }
        if answered > 0 {
            progress.event(Event::RequestsScored(answered));
        }
        keyed.sort_unstable();
        let mut prompts: Vec<Prompt<'a>> = Vec::new();
        for (factors, context, index) in keyed {
            match prompts.last_mut() {
                Some(last) if last.factors == factors && last.context == context => last.requests.push(index),
                _ => prompts.push(Prompt { factors, context, requests: vec![index] }),
            }
        }
        Ok(prompts)
    }

    /// Consecutive prompts whose own tokens fit the budget. With little to do, batches get smaller
    /// so that every thread has one.
    fn batches(&self, prompts: &[Prompt<'_>], cache: &PrefixCache<'_>, requests: &[ScoreRequest]) -> Vec<Range<usize>> {
        let own = |index: usize, prompt: &Prompt<'_>| {
            let read = prompt.requests.iter().filter_map(|index| requests.get(*index));
            prompt.context.len() - cache.covered(index) + read.map(|r| r.continuation.len() - 1).sum::<usize>()
        };
        let sizes: Vec<usize> = prompts.iter().enumerate().map(|(index, prompt)| own(index, prompt)).collect();
        let share = sizes.iter().sum::<usize>().div_ceil(rayon::current_num_threads().max(1));
        let budget = self.options.batch_tokens.min(share).max(1);
        let mut batches = Vec::new();
        let (mut start, mut tokens) = (0, 0);
        for (index, size) in sizes.iter().enumerate() {
            if index > start && tokens + size > budget {
                batches.push(start..index);
                (start, tokens) = (index, 0);
            }
            tokens += size;
        }
        if start < prompts.len() {
            batches.push(start..prompts.len());
        }
        batches
    }
}

/// One call of `score`.
struct Scoring<'a> {
    model: &'a LocalModel,
    requests: &'a [ScoreRequest],
    prompts: &'a [Prompt<'a>],
    cache: &'a PrefixCache<'a>,
    done: Done<'a, Score>,
    progress: Progress<'a>,
}

/// Tokens of one request whose probabilities a pass gives: from `first` on, at consecutive rows.
struct Wanted {
    request: usize,
    first: usize,
    count: usize,
    row: usize,
}

/// What a pass says about one token of a request. Sums are taken at the end, token by token, so that
/// they do not depend on which tokens came in one pass.
struct TokenScore {
    request: usize,
    token: usize,
    logprob: f64,
    is_greedy: bool,
}

impl Scoring<'_> {
    fn run(&self, range: Range<usize>) -> Result<()> {
        let budget = self.model.options.batch_tokens;
        let prompts = self.prompts.get(range.clone()).unwrap_or_default();
        let mut scores: Vec<TokenScore> = Vec::new();
        let mut contexts = Vec::with_capacity(prompts.len());
        // What is left to run of each prompt, behind its shared prefix and, for a very long one,
        // behind pieces of itself.
        for (index, prompt) in range.clone().zip(prompts) {
            let mut past = self.cache.chain(index, self.progress)?;
            let mut rest = prompt.context.get(self.cache.covered(index)..).unwrap_or_default();
            if rest.len() > budget {
                let (first, last) = rest.split_at((rest.len() - 1) / budget * budget);
                prefill(&self.model.decoder, first, prompt.factors, &mut past, budget, self.progress)?;
                rest = last;
            }
            // A lone continuation runs on in the same segment.
            let mut tokens = rest.to_vec();
            if let [only] = prompt.requests.as_slice() {
                let continuation = self.continuation(*only);
                tokens.extend_from_slice(&continuation[..continuation.len() - 1]);
            }
            contexts.push((tokens, rest.len(), past));
        }
        let mut segments = Vec::with_capacity(prompts.len());
        let (mut rows, mut wanted_rows, mut wanted) = (0, Vec::new(), Vec::new());
        for (prompt, (tokens, context, past)) in prompts.iter().zip(&contexts) {
            let longer = prompt.requests.len() > 1
                && prompt.requests.iter().any(|request| self.continuation(*request).len() > 1);
            let last = rows + context - 1;
            for &request in &prompt.requests {
                let count = if prompt.requests.len() == 1 { self.continuation(request).len() } else { 1 };
                wanted.push(Wanted { request, first: 0, count, row: wanted_rows.len() });
            }
            wanted_rows.extend(last..rows + tokens.len());
            rows += tokens.len();
            segments.push(Segment { tokens, past: past.clone(), factors: prompt.factors, keep: longer });
        }
        let kept = self.pass(&segments, &wanted_rows, &wanted, &mut scores)?;
        drop(segments);
        // The continuations' own tokens, each behind its prompt.
        let mut jobs = Vec::new();
        for ((prompt, (_, _, past)), kept) in prompts.iter().zip(contexts).zip(kept) {
            let Some(block) = kept else { continue };
            let past = [past, vec![block]].concat();
            for &request in &prompt.requests {
                let continuation = self.continuation(request);
                if continuation.len() > 1 {
                    jobs.push((request, prompt.factors, past.clone(), &continuation[..continuation.len() - 1]));
                }
            }
        }
        let mut rest = jobs.as_slice();
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = rest.iter().take_while(|job| {
                tokens += job.3.len();
                tokens <= budget
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            rest = later;
            let mut wanted = Vec::with_capacity(now.len());
            let mut row = 0;
            let segments = now.iter().map(|(request, factors, past, tokens)| {
                wanted.push(Wanted { request: *request, first: 1, count: tokens.len(), row });
                row += tokens.len();
                Segment { tokens, past: past.clone(), factors: *factors, keep: false }
            });
            let segments: Vec<Segment<'_>> = segments.collect();
            let rows: Vec<usize> = (0..row).collect();
            self.pass(&segments, &rows, &wanted, &mut scores)?;
        }
        self.report(range, scores);
        Ok(())
    }

    fn continuation(&self, request: usize) -> &[u32] {
        self.requests.get(request).map_or(&[], |request| &request.continuation)
    }

    /// One forward pass: adds up what it says about the wanted tokens.
    fn pass(
        &self,
        segments: &[Segment<'_>],
        rows: &[usize],
        wanted: &[Wanted],
        scores: &mut Vec<TokenScore>,
    ) -> Result<Vec<Option<Arc<KvBlock>>>> {
        self.progress.cancel.check()?;
        let decoder = &self.model.decoder;
        let forward = decoder.forward(segments, rows)?;
        let Some(hidden) = forward.hidden else { return Ok(forward.kept) };
        let mut targets = Vec::new();
        for Wanted { request, first, count, row } in wanted {
            let tokens = self.continuation(*request).iter().skip(*first).take(*count);
            targets.extend(tokens.enumerate().map(|(offset, token)| (row + offset, *token)));
        }
        let mut found = decoder.log_probs(&hidden, &targets)?.into_iter();
        for &Wanted { request, first, count, .. } in wanted {
            for (offset, (logprob, is_greedy)) in found.by_ref().take(count).enumerate() {
                if !logprob.is_finite() {
                    return Err(self.not_finite(request));
                }
                scores.push(TokenScore { request, token: first + offset, logprob, is_greedy });
            }
        }
        Ok(forward.kept)
    }

    fn not_finite(&self, request: usize) -> Error {
        let request = self.requests.get(request);
        let tokens = request.map(|r| [r.context.as_slice(), &r.continuation].concat()).unwrap_or_default();
        let read = tokens.get(..tokens.len().saturating_sub(1)).unwrap_or_default();
        self.model.decoder.locate_not_finite(read).into()
    }

    /// Adds up each request's tokens and hands the scores out.
    fn report(&self, range: Range<usize>, mut scores: Vec<TokenScore>) {
        scores.sort_unstable_by_key(|score| (score.request, score.token));
        let mut count = 0;
        for tokens in scores.chunk_by(|a, b| a.request == b.request) {
            let logprob = tokens.iter().fold(0.0, |sum, token| sum + token.logprob);
            let is_greedy = tokens.iter().all(|token| token.is_greedy);
            if let Some(first) = tokens.first() {
                (self.done)(first.request, Score { logprob, is_greedy });
                count += 1;
            }
        }
        for prompt in range {
            self.cache.finish(prompt);
        }
        self.progress.event(Event::RequestsScored(count));
    }
}
