//! One decoder layer, and what a batch looks like from inside it.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::attention::{SelfAttention, normed, rows};
use super::cache::KvBlock;
use super::norm::Norm;
use super::ops::{Gated, Span};
use super::projection::{Pass, Projection};
use super::rope::Rotation;
use crate::compute::nn::Activation;

/// Row bookkeeping of a batch of segments laid end to end.
#[derive(Debug)]
pub(super) struct Batch {
    /// One a segment, covering all its rows.
    pub(super) spans: Arc<Vec<Span>>,
    /// The wanted rows, as runs of consecutive ones.
    pub(super) wanted_spans: Arc<Vec<Span>>,
    /// Row numbers of the wanted rows; `None` when all rows are wanted in order.
    pub(super) wanted: Option<Tensor>,
    /// Whether no row is wanted: then only keys and values are.
    pub(super) none_wanted: bool,
    /// One for each set of rotary parameters.
    pub(super) rotations: Vec<Rotations>,
    /// Rows of each segment, and whether its keys and values are kept.
    pub(super) segments: Vec<(Range<usize>, bool)>,
}

/// Tables for all rows and for the wanted ones.
#[derive(Debug)]
pub(super) struct Rotations {
    pub(super) all: Arc<Rotation>,
    pub(super) wanted: Arc<Rotation>,
}

/// Gated feed-forward.
#[derive(Debug)]
pub(super) struct FeedForward {
    pub(super) gate: Box<dyn Projection>,
    pub(super) up: Box<dyn Projection>,
    pub(super) down: Box<dyn Projection>,
    pub(super) activation: Activation,
}

impl FeedForward {
    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let (gate, up) = (self.gate.forward(x, pass)?, self.up.forward(x, pass)?);
        self.down.forward(&gate.apply_op2(&up, Gated { activation: self.activation })?, pass)
    }
}

/// One layer.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) input_norm: Norm,
    pub(super) attention: SelfAttention,
    /// Gemma's norm of the attention's output.
    pub(super) attention_post_norm: Option<Norm>,
    pub(super) feed_forward_norm: Norm,
    pub(super) feed_forward: FeedForward,
    /// Gemma's norm of the feed-forward's output.
    pub(super) feed_forward_post_norm: Option<Norm>,
}

impl Block {
    /// Runs the layer. The last layer drops unwanted rows as soon as their keys and values are
    /// there, and returns `None` when that leaves nothing.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        batch: &Batch,
        pass: Pass,
        last: bool,
        kept: &mut [Option<KvBlock>],
    ) -> Result<Option<Tensor>> {
        let inputs = self.input_norm.forward(x, pass)?;
        let (k, v) = self.attention.keys_values(&inputs, batch, pass)?;
        for ((range, _), kept) in batch.segments.iter().zip(kept) {
            if let Some(block) = kept {
                block.layers.push((rows(&k, range)?, rows(&v, range)?));
            }
        }
        if last && batch.none_wanted {
            return Ok(None);
        }
        let (x, inputs) = match &batch.wanted {
            Some(wanted) if last => (x.index_select(wanted, 0)?, inputs.index_select(wanted, 0)?),
            _ => (x.clone(), inputs),
        };
        let attended = self.attention.forward(&inputs, &k, &v, batch, last, pass)?;
        let x = (x + normed(self.attention_post_norm.as_ref(), attended, pass)?)?;
        let fed = self.feed_forward.forward(&self.feed_forward_norm.forward(&x, pass)?, pass)?;
        Ok(Some((x + normed(self.feed_forward_post_norm.as_ref(), fed, pass)?)?))
    }
}
