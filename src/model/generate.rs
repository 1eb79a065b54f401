//! Continuing prompts: greedy or by seeded sampling, any number of sequences at once.

use std::sync::Arc;

use super::cache::{KvBlock, Segment};
use super::decoder::{Decoder, DecoderError};
use super::rope::RopeFactors;
use crate::rng::Philox;

/// Rule by which the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the most probable token, the first of equals.
    pub temperature: f64,
    /// Key of the draws: the same key gives the same text.
    pub key: u64,
}

/// A prompt and what has been written after it.
#[derive(Debug)]
pub struct Sequence {
    tokens: Vec<u32>,
    prompt: usize,
    past: Vec<Arc<KvBlock>>,
    cached: usize,
    factors: RopeFactors,
    sampling: Sampling,
}

impl Sequence {
    /// A prompt of at least one token.
    #[must_use]
    pub fn new(prompt: &[u32], sampling: Sampling) -> Self {
        Self::behind(Vec::new(), RopeFactors::default(), prompt, sampling)
    }

    /// A prompt whose first tokens have been computed, under `factors`; at least one must be left.
    #[must_use]
    pub fn behind(past: Vec<Arc<KvBlock>>, factors: RopeFactors, prompt: &[u32], sampling: Sampling) -> Self {
        let cached = past.iter().map(|block| block.tokens).sum();
        Self { tokens: prompt.to_vec(), prompt: prompt.len(), past, cached, factors, sampling }
    }

    /// Tokens written so far.
    #[must_use]
    pub fn produced(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }

    /// Prompt and produced tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Bytes of the keys and values that nobody shares with it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.past.iter().filter(|block| Arc::strong_count(block) == 1).map(|block| block.bytes()).sum()
    }

    /// A sequence that outgrows the pre-training's context is computed again from its start.
    fn settle(&mut self, decoder: &Decoder) {
        let factors = decoder.rope_factors(self.tokens.len());
        if factors != self.factors {
            self.past.clear();
            self.cached = 0;
            self.factors = factors;
        }
    }

    /// The last block grows in place while nobody shares it.
    fn extend(&mut self, block: Arc<KvBlock>) {
        self.cached += block.tokens;
        match self.past.last_mut().and_then(Arc::get_mut) {
            Some(last) => last.append(&block),
            None => self.past.push(block),
        }
    }
}

/// Advances every sequence: by one token, or by up to `chunk` tokens of a prompt that has not been
/// read to its end. All of them share one batch, which changes none of their results.
///
/// # Errors
/// A [`DecoderError`]; logits that are not finite are one, with the layer.
pub fn step(decoder: &Decoder, sequences: &mut [&mut Sequence], chunk: usize) -> Result<(), DecoderError> {
    for sequence in sequences.iter_mut() {
        sequence.settle(decoder);
    }
    let mut segments = Vec::with_capacity(sequences.len());
    let (mut wanted, mut writers) = (Vec::new(), Vec::new());
    let mut rows = 0;
    for (index, sequence) in sequences.iter().enumerate() {
        let pending = &sequence.tokens[sequence.cached..];
        let tokens = &pending[..pending.len().min(chunk.max(1))];
        rows += tokens.len();
        if tokens.len() == pending.len() && rows > 0 {
            wanted.push(rows - 1);
            writers.push(index);
        }
        segments.push(Segment { tokens, past: sequence.past.clone(), factors: sequence.factors, keep: true });
    }
    let forward = decoder.forward(&segments, &wanted)?;
    // The segments' handles on the past must go before it can grow in place.
    drop(segments);
    for (sequence, kept) in sequences.iter_mut().zip(forward.kept) {
        if let Some(block) = kept {
            sequence.extend(block);
        }
    }
    let Some(hidden) = forward.hidden else { return Ok(()) };
    for (row, index) in writers.into_iter().enumerate() {
        let logits = decoder.logits(&hidden, row..row + 1)?;
        let Some(sequence) = sequences.get_mut(index) else { continue };
        match choose(&logits, sequence.sampling, sequence.produced().len()) {
            Some(token) => sequence.tokens.push(token),
            None => return Err(decoder.locate_not_finite(&sequence.tokens)),
        }
    }
    Ok(())
}

/// The next token; `None` when the logits are not finite.
fn choose(logits: &[f32], sampling: Sampling, draw: usize) -> Option<u32> {
    if logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        return None;
    }
    let (mut best, mut max) = (None, f32::NEG_INFINITY);
    for (index, &logit) in logits.iter().enumerate() {
        if logit > max {
            (best, max) = (Some(index as u32), logit);
        }
    }
    if sampling.temperature <= 0.0 {
        return best;
    }
    let weight = |logit: f32| (f64::from(logit - max) / sampling.temperature).exp();
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    // 53 bits of one block, one block a token.
    let [low, high, ..] = Philox::new(sampling.key).block(draw as u64);
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
    let mut left = bits as f64 / (1_u64 << 53) as f64 * total;
    for (index, &logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return Some(index as u32);
        }
    }
    best
}
