//! Keys and values of positions already seen, as immutable blocks that sequences share.

use std::sync::Arc;

use super::rope::RopeFactors;
use crate::compute::nn::KeyValues;

/// Keys (rotated) and values of consecutive positions, for every layer.
#[derive(Debug, Clone, Default)]
pub struct KvBlock {
    pub(super) tokens: usize,
    pub(super) factors: RopeFactors,
    /// `[tokens, kv_heads * head_dim]` twice, a pair a layer.
    pub(super) layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl KvBlock {
    /// Positions.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|(keys, values)| 4 * (keys.len() + values.len())).sum()
    }

    pub(super) fn layer(&self, layer: usize) -> Option<KeyValues<'_>> {
        self.layers.get(layer).map(|(keys, values)| KeyValues { keys, values })
    }

    /// Appends the positions of a block that follows this one.
    pub(super) fn append(&mut self, next: &Self) {
        self.tokens += next.tokens;
        for (layer, (keys, values)) in self.layers.iter_mut().zip(&next.layers) {
            layer.0.extend_from_slice(keys);
            layer.1.extend_from_slice(values);
        }
    }
}

/// New tokens of one sequence, and the positions that they follow.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    /// Tokens to run; at least one.
    pub tokens: &'a [u32],
    /// The positions before, oldest first.
    pub past: Vec<Arc<KvBlock>>,
    /// The divisors of the sequence that this is part of
    /// ([`Decoder::rope_factors`](super::Decoder::rope_factors) of its whole length).
    pub factors: RopeFactors,
    /// Whether the new keys and values are wanted.
    pub keep: bool,
}

impl Segment<'_> {
    /// Positions before the first new token.
    #[must_use]
    pub fn past_tokens(&self) -> usize {
        self.past.iter().map(|block| block.tokens).sum()
    }
}
