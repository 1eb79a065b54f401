//! Generation by the local model: each thread keeps some sequences in flight and advances them in one
//! batch; a finished one makes room for the next.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::language_model::{Done, GenerateRequest, Generation};
use super::local::LocalModel;
use super::prefix_cache::PrefixCache;
use crate::error::Result;
use crate::event::{Event, Progress};
use crate::model::{RopeFactors, Sampling, Sequence, step};
use crate::rng::stream_key;

/// Sequences that one thread has in flight: enough to use the weights well each time they are read.
const IN_FLIGHT: usize = 16;
/// No further sequence is admitted while those in flight hold this much, so that long prompts don't
/// add up.
const IN_FLIGHT_BYTES: usize = 96 << 20;

/// A request in flight.
struct Running<'a> {
    request: usize,
    asked: &'a GenerateRequest,
    /// Position in the sorted list of prompts.
    prompt: usize,
    sequence: Sequence,
}

pub(super) fn generate(
    model: &LocalModel,
    requests: &[GenerateRequest],
    done: Done<'_, Generation>,
    progress: Progress<'_>,
) -> Result<()> {
    progress.cancel.check()?;
    let keys = sampling_keys(model.options.seed, requests);
    let mut order: Vec<(RopeFactors, &[u32], usize)> = requests
        .iter()
        .enumerate()
        .map(|(index, request)| {
            (model.decoder().rope_factors(request.context.len()), request.context.as_slice(), index)
        })
        .collect();
    order.sort_unstable();
    let prompts: Vec<(RopeFactors, &[u32])> = order.iter().map(|(factors, context, _)| (*factors, *context)).collect();
    let cache = PrefixCache::new(model.decoder(), &prompts, model.options.batch_tokens);
    let next = AtomicUsize::new(0);
    let threads = model.options.workers.threads();
    let in_flight = IN_FLIGHT.min(requests.len().div_ceil(threads));
    let work = || -> Result<()> {
        let mut running: Vec<Running<'_>> = Vec::new();
        loop {
            progress.cancel.check()?;
            while running.len() < in_flight
                && running.iter().map(|r| r.sequence.bytes()).sum::<usize>() < IN_FLIGHT_BYTES
            {
                let prompt = next.fetch_add(1, Ordering::Relaxed);
                let Some(&(factors, context, request)) = order.get(prompt) else { break };
                let (Some(asked), Some(key)) = (requests.get(request), keys.get(request)) else { break };
                let sampling = Sampling { temperature: asked.temperature, key: *key };
                let past = cache.key_values(prompt, progress)?;
                let sequence = Sequence::behind(past, factors, context, sampling);
                running.push(Running { request, asked, prompt, sequence });
            }
            // What asks for no token at all ends here, like what has just written its last.
            let mut finished = 0;
            let mut index = 0;
            while let Some(one) = running.get(index) {
                let Some(text) = end(model, one.asked, &one.sequence)? else {
                    index += 1;
                    continue;
                };
                done(one.request, Generation { text });
                cache.finish(one.prompt);
                running.swap_remove(index);
                finished += 1;
            }
            if finished > 0 {
                progress.event(Event::RequestsScored(finished));
                continue;
            }
            if running.is_empty() {
                return Ok(());
            }
            let chunk = (model.options.batch_tokens / running.len()).max(1);
            let mut sequences: Vec<&mut Sequence> = running.iter_mut().map(|one| &mut one.sequence).collect();
            step(model.decoder(), &mut sequences, chunk)?;
        }
    };
    // After a failure nobody starts another request.
    let until_failure = |_| work().inspect_err(|_| next.store(order.len(), Ordering::Relaxed));
    model.options.workers.for_each_index(threads, until_failure)
}

/// The text of a sequence that has come to its end; `None` while it goes on.
fn end(model: &LocalModel, request: &GenerateRequest, sequence: &Sequence) -> Result<Option<String>> {
    let produced = sequence.produced();
    let eos = produced.last().is_some_and(|last| model.decoder().eos_token_ids().contains(last));
    let full = produced.len() >= request.max_tokens
        || (!produced.is_empty() && sequence.len() > model.decoder().config().max_position_embeddings);
    let stops: Vec<&str> = request.until.iter().map(String::as_str).filter(|stop| !stop.is_empty()).collect();
    if !eos && !full && (stops.is_empty() || produced.is_empty()) {
        return Ok(None);
    }
    let written = if eos { &produced[..produced.len() - 1] } else { produced };
    let mut text = (model.detokenize)(written)?;
    let cut = stops.iter().filter_map(|stop| text.find(stop)).min();
    if let Some(cut) = cut {
        text.truncate(cut);
    }
    Ok((eos || full || cut.is_some()).then_some(text))
}

/// Keys of the draws: by the prompt, and for equal prompts by their count, so that repeats differ and
/// neither order nor neighbours of a request matter.
fn sampling_keys(seed: u64, requests: &[GenerateRequest]) -> Vec<u64> {
    let mut seen: BTreeMap<&[u32], usize> = BTreeMap::new();
    let key = |request: &GenerateRequest, repeat: usize| {
        let prompt: String = request.context.iter().map(|token| format!("{token} ")).collect();
        stream_key(seed, &["generate", &prompt, &repeat.to_string()])
    };
    requests
        .iter()
        .map(|request| {
            let repeat = seen.entry(&request.context).or_default();
            *repeat += 1;
            key(request, *repeat)
        })
        .collect()
}
