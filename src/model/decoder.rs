//! The decoder: opening a checkpoint, and running batches of segments.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::adapter::WeightedAdapter;
use super::block::{Batch, Block, Rotations};
use super::cache::{KvBlock, Segment};
use super::config::DecoderConfig;
use super::norm::Norm;
use super::ops::{EmbeddingRows, Span};
use super::pool::WeightPool;
use super::projection::{Pass, Projection, ProjectionName};
use super::rope::{Rope, RopeFactors};
use crate::compute::nn;
use crate::compute::nn::{PackedMatrix, WeightDtype};
use crate::error::{Diagnose, ErrorKind};
use crate::parallel::Workers;

/// Logits are computed for so many rows at a time that they stay below this, or for one row.
const LOGIT_BYTES: usize = 16 << 20;

/// Failures of a forward pass.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum DecoderError {
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    #[error("a sequence of {positions} tokens is longer than the model's {most} positions")]
    TooLong { positions: usize, most: usize },
    #[error("token {token} is outside the model's vocabulary of {vocabulary}")]
    UnknownToken { token: u32, vocabulary: usize },
    #[error("a batch has no tokens, or asks for rows that it does not have")]
    Rows,
    #[error("KV cache was computed with different RoPE factors")]
    MixedFactors,
    #[error("the logits are not finite: the first layer with such output is {place}")]
    NotFinite { place: String },
}

impl Diagnose for DecoderError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Tensor(_) | Self::Rows | Self::MixedFactors => ErrorKind::Internal,
            Self::TooLong { .. } | Self::NotFinite { .. } => ErrorKind::Input,
            Self::UnknownToken { .. } => ErrorKind::Mismatch,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::TooLong { .. } => "shorten the prompt, use fewer few-shot examples or lower --max-length",
            Self::UnknownToken { .. } => "the tokenizer is not the model's: check tokenizer.json and vocab_size",
            Self::NotFinite { .. } => {
                "the weights of that layer are broken (a merge that overflowed, a damaged file) or too large for \
                 16 bits: inspect them, and try --weights f32"
            }
            Self::Tensor(_) | Self::Rows | Self::MixedFactors => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// Options of opening a checkpoint.
#[derive(Debug)]
pub struct DecoderOptions {
    /// Storage of the weights; arithmetic is f32.
    pub precision: WeightDtype,
    /// Adapters to add, each times its weight.
    pub adapters: Vec<WeightedAdapter>,
    /// Pool through which unchanged weights of the checkpoint are shared with other decoders.
    pub pool: Option<Arc<WeightPool>>,
    /// Threads that pack the weights.
    pub workers: Workers,
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self { precision: WeightDtype::F32, adapters: Vec::new(), pool: None, workers: Workers::default() }
    }
}

/// A causal language model. Weights are immutable and shared by every thread that runs it.
pub struct Decoder {
    pub(super) config: DecoderConfig,
    pub(super) embedding: Embedding,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Norm,
    pub(super) head: Box<dyn Projection>,
    pub(super) ropes: Vec<Rope>,
    /// Names of the projections, in the order of [`Decoder::map_projections`].
    pub(super) names: Vec<ProjectionName>,
    pub(super) eos_token_ids: Vec<u32>,
    pub(super) weight_bytes: usize,
    pub(super) warnings: Vec<String>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The table of token embeddings.
#[derive(Debug)]
pub(super) enum Embedding {
    /// Frozen, and shared with a tied head.
    Packed(Arc<PackedMatrix>),
    /// `[vocab_size, hidden_size]`, taken over by a trainer.
    Trained(Tensor),
}

/// Normed hidden states of wanted rows, `[rows, hidden_size]`.
#[derive(Debug, Clone)]
pub struct Hidden(Tensor);

impl Hidden {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.dims().first().copied().unwrap_or(0)
    }

    /// The tensor, for a caller that goes on computing.
    #[must_use]
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }
}

/// Result of a forward pass.
#[derive(Debug)]
pub struct Forward {
    /// Hidden states of the wanted rows; `None` when none were wanted.
    pub hidden: Option<Hidden>,
    /// New keys and values, one entry a segment, for those that keep them.
    pub kept: Vec<Option<Arc<KvBlock>>>,
}

impl Decoder {
    /// Shape and arithmetic.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Tokens that end a text: `generation_config.json`'s, else `config.json`'s.
    #[must_use]
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.eos_token_ids
    }

    /// Bytes of the packed weights.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Odd things about the checkpoint that are no error.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The rotary divisors that a sequence of this many positions uses.
    #[must_use]
    pub fn rope_factors(&self, positions: usize) -> RopeFactors {
        self.ropes.iter().map(|rope| rope.factors(positions)).max().unwrap_or(RopeFactors::default())
    }

    /// Runs segments laid end to end. `wanted` are row numbers over the whole batch, ascending.
    ///
    /// # Errors
    /// A [`DecoderError`]: a sequence that is too long, a token outside the vocabulary, or misuse.
    pub fn forward(&self, segments: &[Segment<'_>], wanted: &[usize]) -> Result<Forward, DecoderError> {
        self.run(segments, wanted, None)
    }

    /// Logits of some rows, `[rows, vocab_size]`.
    ///
    /// # Errors
    /// A [`DecoderError`] for rows that are not there.
    pub fn logits(&self, hidden: &Hidden, rows: Range<usize>) -> Result<Vec<f32>, DecoderError> {
        let x = hidden.0.narrow(0, rows.start, rows.len())?;
        let logits = self.head.forward(&x, Pass::default())?;
        let mut logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        if let Some(cap) = self.config.logit_soft_cap {
            for logit in &mut logits {
                *logit = cap * (*logit / cap).tanh();
            }
        }
        Ok(logits)
    }

    /// Natural-log probabilities of tokens at rows, and whether each is the most probable one there
    /// (the first of equals). Logits exist for a few rows at a time only.
    ///
    /// # Errors
    /// A [`DecoderError`] for rows that are not there or tokens outside the vocabulary.
    pub fn log_probs(&self, hidden: &Hidden, targets: &[(usize, u32)]) -> Result<Vec<(f64, bool)>, DecoderError> {
        let vocabulary = self.config.vocab_size;
        if let Some((_, token)) = targets.iter().find(|(_, token)| *token as usize >= vocabulary) {
            return Err(DecoderError::UnknownToken { token: *token, vocabulary });
        }
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.sort_by_key(|&index| targets[index].0);
        let step = (LOGIT_BYTES / 4 / vocabulary.max(1)).max(1);
        let mut results = vec![(0.0, false); targets.len()];
        let mut logits = Vec::new();
        let (mut start, mut end) = (0, 0);
        for index in order {
            let (row, token) = targets[index];
            if row >= end {
                (start, end) = (row, (row + step).min(hidden.rows()));
                if row >= end {
                    return Err(DecoderError::Rows);
                }
                logits = self.logits(hidden, start..end)?;
            }
            let logits = logits.chunks_exact(vocabulary).nth(row - start).ok_or(DecoderError::Rows)?;
            results[index] = nn::log_softmax_at(logits, token);
        }
        Ok(results)
    }

    /// Runs a sequence again from its first token to say where its values stop being finite.
    #[must_use]
    pub fn locate_not_finite(&self, tokens: &[u32]) -> DecoderError {
        let segment = Segment { tokens, past: Vec::new(), factors: self.rope_factors(tokens.len()), keep: false };
        let rows: Vec<usize> = (0..tokens.len()).collect();
        let mut place = None;
        let ran = self.run(&[segment], &rows, Some(&mut place));
        match (ran, place) {
            (Err(error), _) => error,
            (Ok(_), Some(place)) => DecoderError::NotFinite { place },
            (Ok(_), None) => DecoderError::NotFinite { place: "the output head".to_owned() },
        }
    }

    fn run(
        &self,
        segments: &[Segment<'_>],
        wanted: &[usize],
        mut inspect: Option<&mut Option<String>>,
    ) -> Result<Forward, DecoderError> {
        let batch = self.batch(segments, wanted)?;
        let mut kept: Vec<Option<KvBlock>> = segments.iter().map(|segment| self.empty_block(segment)).collect();
        let pass = Pass::default();
        let mut x = self.embed(segments, pass)?;
        let mut look = |place: &dyn Fn() -> String, x: &Tensor| -> Result<(), DecoderError> {
            if let Some(found) = inspect.as_deref_mut()
                && found.is_none()
                && !x.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_finite())
            {
                *found = Some(place());
            }
            Ok(())
        };
        look(&|| "the embedding".to_owned(), &x)?;
        let last = self.blocks.len() - 1;
        for (layer, block) in self.blocks.iter().enumerate() {
            let Some(next) = block.forward(&x, &batch, pass, layer == last, &mut kept)? else { break };
            x = next;
            look(&|| format!("layer {layer}"), &x)?;
        }
        let hidden = if wanted.is_empty() { None } else { Some(Hidden(self.norm.forward(&x, pass)?)) };
        if let Some(hidden) = &hidden {
            look(&|| "the final norm".to_owned(), &hidden.0)?;
        }
        Ok(Forward { hidden, kept: kept.into_iter().map(|block| block.map(Arc::new)).collect() })
    }

    fn empty_block(&self, segment: &Segment<'_>) -> Option<KvBlock> {
        segment.keep.then(|| KvBlock {
            tokens: segment.tokens.len(),
            factors: segment.factors,
            layers: Vec::with_capacity(self.blocks.len()),
        })
    }

    pub(super) fn embed(&self, segments: &[Segment<'_>], pass: Pass) -> Result<Tensor, DecoderError> {
        let (width, vocabulary) = (self.config.hidden_size, self.config.vocab_size);
        let rows = segments.iter().map(|segment| segment.tokens.len()).sum::<usize>();
        let tokens = segments.iter().flat_map(|segment| segment.tokens);
        if let Some(&token) = tokens.clone().find(|token| **token as usize >= vocabulary) {
            return Err(DecoderError::UnknownToken { token, vocabulary });
        }
        let scale = self.config.embedding_scale;
        let table = match &self.embedding {
            Embedding::Packed(table) => table,
            Embedding::Trained(table) => {
                let tokens = Arc::new(tokens.copied().collect());
                return Ok(pass.variable(table).apply_op1(EmbeddingRows { tokens, scale })?);
            }
        };
        let mut values = vec![0.0; rows * width];
        for (&token, out) in tokens.zip(values.chunks_exact_mut(width)) {
            table.row(token as usize, out);
        }
        if scale != 1.0 {
            for value in &mut values {
                *value *= scale;
            }
        }
        Ok(Tensor::from_vec(values, (rows, width), &Device::Cpu)?)
    }

    /// Checks a batch and works out its rows.
    pub(super) fn batch(&self, segments: &[Segment<'_>], wanted: &[usize]) -> Result<Batch, DecoderError> {
        let most = self.config.max_position_embeddings;
        let mut start = 0;
        let mut spans = Vec::with_capacity(segments.len());
        let mut wanted_spans: Vec<Span> = Vec::new();
        let mut ranges = Vec::with_capacity(segments.len());
        let mut positions = Vec::new();
        let mut left = wanted;
        for segment in segments {
            let past = segment.past_tokens();
            let rows = start..start + segment.tokens.len();
            if past + rows.len() > most {
                return Err(DecoderError::TooLong { positions: past + rows.len(), most });
            }
            if segment.past.iter().any(|block| block.factors != segment.factors) {
                return Err(DecoderError::MixedFactors);
            }
            positions.extend((past..past + rows.len()).map(|position| (position, segment.factors)));
            spans.push(Span { queries: rows.clone(), own: rows.clone(), past: segment.past.clone() });
            let here = left.partition_point(|row| *row < rows.end);
            let (mine, rest) = left.split_at(here);
            left = rest;
            let mut query = wanted.len() - rest.len() - mine.len();
            for run in mine.chunk_by(|a, b| a + 1 == *b) {
                let end = run.last().map_or(rows.start, |row| row + 1);
                wanted_spans.push(Span {
                    queries: query..query + run.len(),
                    own: rows.start..end,
                    past: segment.past.clone(),
                });
                query += run.len();
            }
            start = rows.end;
            ranges.push((rows, segment.keep));
        }
        if start == 0 || !left.is_empty() || !wanted.is_sorted_by(|a, b| a < b) {
            return Err(DecoderError::Rows);
        }
        let all_wanted = wanted.len() == start;
        let some_wanted = !all_wanted && !wanted.is_empty();
        let wanted_rows = if some_wanted {
            let rows: Vec<u32> = wanted.iter().map(|row| *row as u32).collect();
            Some(Tensor::from_vec(rows, wanted.len(), &Device::Cpu)?)
        } else {
            None
        };
        let rotations = self
            .ropes
            .iter()
            .map(|rope| {
                let all = Arc::new(rope.rotation(positions.iter().copied()));
                let picked = wanted.iter().filter_map(|row| positions.get(*row).copied());
                let wanted = if some_wanted { Arc::new(rope.rotation(picked)) } else { Arc::clone(&all) };
                Rotations { all, wanted }
            })
            .collect();
        let spans = Arc::new(spans);
        let wanted_spans = if some_wanted { Arc::new(wanted_spans) } else { Arc::clone(&spans) };
        let none_wanted = wanted.is_empty();
        Ok(Batch { spans, wanted_spans, wanted: wanted_rows, none_wanted, rotations, segments: ranges })
    }
}
