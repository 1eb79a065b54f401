//! Scoring with a model on this machine.
//!
//! Requests with one context are one prompt. Prompts are sorted, so that what they have in common is
//! computed once (`prefix_cache`), and cut into batches by a token budget, which
//! threads take in turn; each batch runs on one thread. A prompt is read once, and its continuations
//! go on from its keys and values side by side. Logits exist only for rows that are scored, a few at
//! a time. None of this shows in the scores: a row's arithmetic knows nothing of its batch.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::language_model::{Done, Score, ScoreRequest};
use super::local::LocalModel;
use super::prefix_cache::{PrefixCache, prefill};
use crate::error::{Diagnose, Error, ErrorKind, Result};
use crate::event::{Event, Progress};
use crate::model::{KvBlock, RopeFactors, Segment};

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

/// Requests with one context.
struct Prompt<'a> {
    factors: RopeFactors,
    context: &'a [u32],
    requests: Vec<usize>,
}

/// Scores all requests.
pub(super) fn score(
    model: &LocalModel,
    requests: &[ScoreRequest],
    done: Done<'_, Score>,
    progress: Progress<'_>,
) -> Result<()> {
    progress.cancel.check()?;
    let prompts = model.prompts(requests, done, progress)?;
    let keys: Vec<(RopeFactors, &[u32])> = prompts.iter().map(|prompt| (prompt.factors, prompt.context)).collect();
    let cache = PrefixCache::new(&model.decoder, &keys, model.options.batch_tokens);
    let batches = model.batches(&prompts, &cache, requests);
    let scoring = Scoring { model, requests, prompts: &prompts, cache: &cache, done, progress };
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        let mut pending = InFlight::default();
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            pending = scoring.run(batch.clone(), pending)?;
        }
        scoring.run(0..0, pending).map(drop)
    };
    // After a failure nobody takes another batch.
    let until_failure = |_| work().inspect_err(|_| next.store(batches.len(), Ordering::Relaxed));
    let workers = model.options.workers;
    workers.for_each_index(workers.threads().min(batches.len()), until_failure)
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
        let share = sizes.iter().sum::<usize>().div_ceil(self.options.workers.threads());
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
struct ScoredSpan {
    request: usize,
    first: usize,
    count: usize,
    row: usize,
}

/// Segments that run in one forward pass.
#[derive(Default)]
struct PackedBatch<'a> {
    segments: Vec<Segment<'a>>,
    tokens: usize,
    /// Rows of tokens whose successors are asked for.
    rows: Vec<usize>,
    spans: Vec<ScoredSpan>,
}

impl<'a> PackedBatch<'a> {
    /// Adds a segment, some of whose rows are scored.
    fn push(&mut self, segment: Segment<'a>, scored: Range<usize>) {
        self.rows.extend(self.tokens + scored.start..self.tokens + scored.end);
        self.tokens += segment.tokens.len();
        self.segments.push(segment);
    }
}

/// Output of a forward pass: keys and values to keep of each segment, and scores of tokens, each with the number of
/// its span.
#[derive(Default)]
struct BatchOutput {
    kept: Vec<Option<Arc<KvBlock>>>,
    scores: Vec<(usize, TokenScore)>,
}

/// Score of one token of a request. Sums are taken at the end, token by token, so that
/// they do not depend on which tokens came in one pass.
struct TokenScore {
    request: usize,
    token: usize,
    logprob: f64,
    is_greedy: bool,
}

/// A batch whose prompts have been read, and its pending continuations, which follow their prompts. They run in the
/// same pass as the next batch's prompts, since a pass of few tokens takes longer than its share of a long one.
#[derive(Default)]
struct InFlight<'a> {
    prompts: Range<usize>,
    continuations: Vec<PendingContinuation<'a>>,
    scores: Vec<TokenScore>,
}

/// A continuation that follows its prompt, without its last token.
struct PendingContinuation<'a> {
    request: usize,
    factors: RopeFactors,
    past: Vec<Arc<KvBlock>>,
    tokens: &'a [u32],
}

impl<'a> Scoring<'a> {
    /// Reads the prompts of a batch, with what is left of the batch before, which is then over.
    fn run(&self, range: Range<usize>, before: InFlight<'a>) -> Result<InFlight<'a>> {
        let budget = self.model.options.batch_tokens;
        let prompts = &self.prompts[range.clone()];
        let mut contexts = Vec::with_capacity(prompts.len());
        // The rest of each prompt after its shared prefix and, for a very long one, after pieces of itself.
        for (index, prompt) in range.clone().zip(prompts) {
            let mut past = self.cache.key_values(index, self.progress)?;
            let mut rest = &prompt.context[self.cache.covered(index)..];
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
        let mut packed = PackedBatch::default();
        for (prompt, (tokens, context, past)) in prompts.iter().zip(&contexts) {
            let longer = prompt.requests.len() > 1
                && prompt.requests.iter().any(|request| self.continuation(*request).len() > 1);
            for &request in &prompt.requests {
                let count = if prompt.requests.len() == 1 { self.continuation(request).len() } else { 1 };
                packed.spans.push(ScoredSpan { request, first: 0, count, row: packed.rows.len() });
            }
            let segment = Segment { tokens, past: past.clone(), factors: prompt.factors, keep: longer };
            packed.push(segment, context - 1..tokens.len());
        }
        let mut scores = Vec::new();
        let (kept, scored) = self.finish(before, packed, &mut scores)?;
        // The continuations' own tokens, each after its prompt.
        let mut continuations = Vec::new();
        for ((prompt, (_, _, past)), kept) in prompts.iter().zip(contexts).zip(kept) {
            let Some(block) = kept else { continue };
            let past = [past, vec![block]].concat();
            for &request in &prompt.requests {
                let continuation = self.continuation(request);
                if let [tokens @ .., _] = continuation
                    && !tokens.is_empty()
                {
                    continuations.push(PendingContinuation {
                        request,
                        factors: prompt.factors,
                        past: past.clone(),
                        tokens,
                    });
                }
            }
        }
        if !scored.prompts.is_empty() {
            self.report(scored);
        }
        Ok(InFlight { prompts: range, continuations, scores })
    }

    /// Runs a batch together with the continuations of the batch before; where those are more than a pass may hold,
    /// some run by themselves. Returns the keys and values to keep of the batch's own segments, and the finished batch.
    fn finish<'p>(
        &self,
        mut before: InFlight<'a>,
        mut batch: PackedBatch<'p>,
        scores: &mut Vec<TokenScore>,
    ) -> Result<(Vec<Option<Arc<KvBlock>>>, InFlight<'a>)>
    where
        'a: 'p,
    {
        let budget = self.model.options.batch_tokens;
        let continuations = std::mem::take(&mut before.continuations);
        let mut rest = continuations.as_slice();
        loop {
            let mut tokens = 0;
            let fits = rest.iter().take_while(|continuation| {
                tokens += continuation.tokens.len();
                tokens <= budget
            });
            let (now, later) = rest.split_at(fits.count().max(1).min(rest.len()));
            rest = later;
            let own = batch.spans.len();
            let last = rest.is_empty();
            let mut these = if last { std::mem::take(&mut batch) } else { PackedBatch::default() };
            for PendingContinuation { request, factors, past, tokens } in now {
                these.spans.push(ScoredSpan {
                    request: *request,
                    first: 1,
                    count: tokens.len(),
                    row: these.rows.len(),
                });
                let segment = Segment { tokens, past: past.clone(), factors: *factors, keep: false };
                these.push(segment, 0..tokens.len());
            }
            let BatchOutput { kept, scores: found } = self.run_batch(&these)?;
            if last {
                let (mine, theirs): (Vec<_>, Vec<_>) = found.into_iter().partition(|(span, _)| *span < own);
                scores.extend(mine.into_iter().map(|(_, score)| score));
                before.scores.extend(theirs.into_iter().map(|(_, score)| score));
                return Ok((kept, before));
            }
            before.scores.extend(found.into_iter().map(|(_, score)| score));
        }
    }

    fn continuation(&self, request: usize) -> &'a [u32] {
        self.requests.get(request).map_or(&[], |request| &request.continuation)
    }

    /// One forward pass.
    fn run_batch(&self, batch: &PackedBatch<'_>) -> Result<BatchOutput> {
        self.progress.cancel.check()?;
        if batch.segments.is_empty() {
            return Ok(BatchOutput::default());
        }
        let decoder = &self.model.decoder;
        let forward = decoder.forward(&batch.segments, &batch.rows)?;
        let mut scores = Vec::new();
        let Some(hidden) = forward.hidden else { return Ok(BatchOutput { kept: forward.kept, scores }) };
        let mut targets = Vec::new();
        for ScoredSpan { request, first, count, row } in &batch.spans {
            let tokens = self.continuation(*request).iter().skip(*first).take(*count);
            targets.extend(tokens.enumerate().map(|(offset, token)| (row + offset, *token)));
        }
        let mut found = decoder.log_probs(&hidden, &targets)?.into_iter();
        for (number, &ScoredSpan { request, first, count, .. }) in batch.spans.iter().enumerate() {
            for (offset, (logprob, is_greedy)) in found.by_ref().take(count).enumerate() {
                if !logprob.is_finite() {
                    return Err(self.not_finite(request));
                }
                scores.push((number, TokenScore { request, token: first + offset, logprob, is_greedy }));
            }
        }
        Ok(BatchOutput { kept: forward.kept, scores })
    }

    fn not_finite(&self, request: usize) -> Error {
        let request = &self.requests[request];
        let tokens = [request.context.as_slice(), &request.continuation].concat();
        let read = &tokens[..tokens.len().saturating_sub(1)];
        self.model.decoder.locate_not_finite(read).into()
    }

    /// Adds up each request's tokens and hands the scores out.
    fn report(&self, InFlight { prompts, mut scores, .. }: InFlight<'_>) {
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
        for prompt in prompts {
            self.cache.finish(prompt);
        }
        self.progress.event(Event::RequestsScored(count));
    }
}
