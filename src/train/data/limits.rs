//! Limits of the base model: context length and vocabulary.

use std::path::Path;

use crate::checkpoint::config::ModelConfig;
use crate::model::DecoderConfig;

/// Bounds on a sequence of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModelLimits {
    /// Most tokens of a sequence.
    pub positions: usize,
    /// Number of token ids.
    pub vocabulary: usize,
}

impl ModelLimits {
    /// Reads a model directory's config. None where there is none, as beside a bare tokenizer, and where
    /// it is faulty, which opening the model reports.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        let path = directory.join("config.json");
        let text = crate::storage::input::read_text(&path, crate::storage::input::SETTINGS_BYTES).ok()?;
        let config = DecoderConfig::parse(&ModelConfig::parse(&path, text).ok()?).ok()?;
        Some(Self { positions: config.max_position_embeddings, vocabulary: config.vocab_size })
    }
}
