//! A model on this machine: the decoder behind the [`LanguageModel`] trait.

use std::sync::Arc;

use super::language_model::{Done, GenerateRequest, Generation, LanguageModel, Score, ScoreRequest};
use super::{local_generate, local_score};
use crate::error::Result;
use crate::event::Progress;
use crate::model::Decoder;
use crate::parallel::Workers;
use crate::tokenizer::Tokenizer;

/// Turns produced tokens into text, special tokens left out.
pub(crate) type Detokenize = Box<dyn Fn(&[u32]) -> Result<String> + Send + Sync>;

/// Options of running a local model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalOptions {
    /// Tokens that one thread runs at a time.
    pub batch_tokens: usize,
    /// Seed of sampling.
    pub seed: u64,
    /// Threads that it runs on; no answer depends on them.
    pub workers: Workers,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { batch_tokens: 512, seed: 0, workers: Workers::default() }
    }
}

/// The decoder as a language model.
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

    /// A model whose tokens this tokenizer reads, special ones left out.
    #[must_use]
    pub(crate) fn with_tokenizer(
        decoder: impl Into<Arc<Decoder>>,
        tokenizer: &Arc<Tokenizer>,
        options: LocalOptions,
    ) -> Self {
        let text = Arc::clone(tokenizer);
        Self::new(decoder, Box::new(move |ids: &[u32]| Ok(text.decode(ids, true)?)), options)
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
        local_score::score(self, requests, done, progress)
    }

    fn generate(&self, requests: &[GenerateRequest], done: Done<'_, Generation>, progress: Progress<'_>) -> Result<()> {
        local_generate::generate(self, requests, done, progress)
    }
}
