//! A decoder on this machine as a [`LanguageModel`].

use super::language_model::{Done, GenerateRequest, Generation, LanguageModel, Score, ScoreRequest};
use super::{local_generate, local_score};
use crate::error::Result;
use crate::event::Progress;

pub use super::local_model::{LocalModel, LocalOptions};

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
