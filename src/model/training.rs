//! Access for a trainer: takes weights over, and runs the decoder layer by layer.

use candle_core::Tensor;

use super::block::{Batch, Block};
use super::cache::Segment;
use super::decoder::{Decoder, DecoderError, Embedding};
use super::norm::Norm;
use super::projection::{Pass, Projection, ProjectionName};
use crate::compute::nn::PackedMatrix;

impl Decoder {
    /// Wraps or replaces every projection of the layers, given its name: how a trainer adds LoRA.
    pub fn map_projections(
        &mut self,
        mut map: impl FnMut(&ProjectionName, Box<dyn Projection>) -> Box<dyn Projection>,
    ) {
        let mut names = self.names.iter();
        for block in &mut self.blocks {
            let (attention, feed_forward) = (&mut block.attention, &mut block.feed_forward);
            for slot in [
                &mut attention.q,
                &mut attention.k,
                &mut attention.v,
                &mut attention.o,
                &mut feed_forward.gate,
                &mut feed_forward.up,
                &mut feed_forward.down,
            ] {
                if let Some(name) = names.next() {
                    let old = std::mem::replace(slot, Box::new(Placeholder));
                    *slot = map(name, old);
                }
            }
        }
    }

    /// Wraps or replaces the output head.
    pub fn map_head(&mut self, map: impl FnOnce(Box<dyn Projection>) -> Box<dyn Projection>) {
        let old = std::mem::replace(&mut self.head, Box::new(Placeholder));
        self.head = map(old);
    }

    /// Hands every norm's weight to `take`, by name; where it returns a variable, that is used from now on.
    pub fn map_norms(&mut self, mut take: impl FnMut(&str, &[f32]) -> Option<Tensor>) {
        let mut visit = |norm: &mut Norm| {
            if let Some(variable) = take(&norm.name, &norm.frozen.weight) {
                norm.trained = Some(variable);
            }
        };
        for block in &mut self.blocks {
            visit(&mut block.input_norm);
            for norm in [&mut block.attention.q_norm, &mut block.attention.k_norm].into_iter().flatten() {
                visit(norm);
            }
            if let Some(norm) = &mut block.attention_post_norm {
                visit(norm);
            }
            visit(&mut block.feed_forward_norm);
            if let Some(norm) = &mut block.feed_forward_post_norm {
                visit(norm);
            }
        }
        visit(&mut self.norm);
    }

    /// The table of embeddings, `[vocab_size, hidden_size]`, while it is frozen.
    #[must_use]
    pub fn frozen_embedding(&self) -> Option<&PackedMatrix> {
        match &self.embedding {
            Embedding::Packed(table) => Some(table),
            Embedding::Trained(_) => None,
        }
    }

    /// Uses a variable `[vocab_size, hidden_size]` for the embeddings from now on.
    pub fn train_embedding(&mut self, variable: Tensor) {
        self.embedding = Embedding::Trained(variable);
    }

    /// Prepares segments laid end to end for a pass layer by layer. `wanted` are row numbers over
    /// the whole batch, ascending; at least one.
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub fn layerwise<'a>(
        &'a self,
        segments: &'a [Segment<'a>],
        wanted: &[usize],
    ) -> Result<LayerwiseForward<'a>, DecoderError> {
        if wanted.is_empty() || segments.iter().any(|segment| segment.keep || !segment.past.is_empty()) {
            return Err(DecoderError::Rows);
        }
        Ok(LayerwiseForward { decoder: self, segments, batch: self.batch(segments, wanted)? })
    }

    /// The output head.
    #[must_use]
    pub fn head(&self) -> &dyn Projection {
        &*self.head
    }
}

/// Forward pass of one batch, layer by layer.
#[derive(Debug)]
pub struct LayerwiseForward<'a> {
    decoder: &'a Decoder,
    segments: &'a [Segment<'a>],
    batch: Batch,
}

impl LayerwiseForward<'_> {
    /// Number of layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.decoder.blocks.len()
    }

    /// The embeddings of all tokens, `[rows, hidden_size]`.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn embed(&self, pass: Pass) -> Result<Tensor, DecoderError> {
        self.decoder.embed(self.segments, pass)
    }

    /// One layer's output; of the wanted rows only for the last.
    ///
    /// # Errors
    /// Errors of the tensor library.
    pub fn layer(&self, index: usize, x: &Tensor, pass: Pass) -> Result<Tensor, DecoderError> {
        let block: &Block = self.decoder.blocks.get(index).ok_or(DecoderError::Rows)?;
        let out = block.forward(x, &self.batch, pass, index + 1 == self.layers(), &mut [])?;
        out.ok_or(DecoderError::Rows)
    }

    /// The last layer's output normed, as the head takes it.
    ///
    /// # Errors
    /// Errors of the tensor library.
    pub fn norm(&self, x: &Tensor, pass: Pass) -> Result<Tensor, DecoderError> {
        Ok(self.decoder.norm.forward(x, pass)?)
    }
}

/// Stands in for a projection while it is being replaced.
#[derive(Debug)]
struct Placeholder;

impl Projection for Placeholder {
    fn forward(&self, _x: &Tensor, _pass: Pass) -> candle_core::Result<Tensor> {
        candle_core::bail!("a projection is being replaced")
    }

    fn in_features(&self) -> usize {
        0
    }

    fn out_features(&self) -> usize {
        0
    }
}
