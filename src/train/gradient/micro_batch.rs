//! Forward and backward pass of one micro-batch.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, TensorId, Var};

use super::loss::head_loss;
use super::step::StepLoss;
use crate::model::{Decoder, DecoderError, Pass, Segment};
use crate::train::data::Example;
use crate::train::error::TrainError;
use crate::train::parameter::{Gradients, Parameter};

/// Tokens of a micro-batch: enough for matrix products at full speed, few enough
/// that their activations stay small.
pub(crate) const MICRO_BATCH_TOKENS: usize = 256;

/// Examples that pass the decoder together.
#[derive(Debug)]
pub(crate) struct MicroBatch<'a> {
    examples: Vec<&'a Example>,
    /// Number among the run's micro-batches: part of the dropout's key.
    number: u64,
}

/// Splits examples into micro-batches, in order: as many as are needed, or one more to make it an even number, and of
/// sizes as even as possible, so that threads have the same to do. Examples without a trained token are left out.
#[must_use]
pub(crate) fn split_micro_batches<'a>(
    examples: impl IntoIterator<Item = &'a Example>,
    first: u64,
) -> Vec<MicroBatch<'a>> {
    let trained = |example: &&Example| example.trained.iter().skip(1).any(|trained| *trained);
    let examples: Vec<&Example> = examples.into_iter().filter(trained).collect();
    let lengths: Vec<usize> = examples.iter().map(|example| example.tokens.len()).collect();
    let mut rest = examples.as_slice();
    let mut micro_batches = Vec::new();
    for count in example_counts(&lengths) {
        let (own, others) = rest.split_at(count);
        micro_batches.push(MicroBatch { examples: own.to_vec(), number: first + micro_batches.len() as u64 });
        rest = others;
    }
    micro_batches
}

/// Splits a batch: the number of examples of each micro-batch.
fn example_counts(lengths: &[usize]) -> Vec<usize> {
    let fill = |capacity: usize| {
        let (mut counts, mut tokens) = (Vec::new(), 0);
        for length in lengths {
            match counts.last_mut() {
                Some(count) if tokens + length <= capacity => *count += 1,
                _ => {
                    counts.push(1);
                    tokens = 0;
                }
            }
            tokens += length;
        }
        counts
    };
    let full = fill(MICRO_BATCH_TOKENS);
    if full.len() < 2 {
        return full;
    }
    let count = full.len().next_multiple_of(2);
    // The least capacity that needs no more micro-batches than that.
    let (mut low, mut high) = (0, MICRO_BATCH_TOKENS);
    while low < high {
        let middle = usize::midpoint(low, high);
        if fill(middle).len() <= count { high = middle } else { low = middle + 1 }
    }
    fill(high)
}

/// Settings of running a micro-batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct MicroBatchSettings {
    /// Factor on the sum of the token losses.
    pub(super) scale: f32,
    /// Whether layers are recomputed in the backward pass.
    pub(super) recompute: bool,
    /// Seed of dropout.
    pub(super) seed: u64,
}

impl MicroBatch<'_> {
    /// Tokens of all examples.
    pub(super) fn tokens(&self) -> usize {
        self.examples.iter().map(|example| example.tokens.len()).sum()
    }

    /// Trained tokens.
    pub(super) fn targets(&self) -> usize {
        self.examples.iter().map(|e| e.trained.iter().skip(1).filter(|trained| **trained).count()).sum()
    }

    /// Rows whose next token carries loss, over all examples laid end to end, and those tokens.
    fn targets_of_rows(&self) -> (Vec<usize>, Vec<u32>) {
        let (mut rows, mut targets, mut first) = (Vec::new(), Vec::new(), 0);
        for example in &self.examples {
            for (row, (token, trained)) in example.tokens.iter().zip(&example.trained).skip(1).enumerate() {
                if *trained {
                    rows.push(first + row);
                    targets.push(*token);
                }
            }
            first += example.tokens.len();
        }
        (rows, targets)
    }

    fn segments<'s>(&'s self, decoder: &Decoder) -> Vec<Segment<'s>> {
        let segment = |example: &&'s Example| Segment {
            tokens: &example.tokens,
            past: Vec::new(),
            factors: decoder.rope_factors(example.tokens.len()),
            keep: false,
        };
        self.examples.iter().map(segment).collect()
    }

    /// Loss without gradients; `logits` is a buffer for them.
    pub(super) fn loss(&self, decoder: &Decoder, logits: &mut Vec<f32>) -> Result<StepLoss, TrainError> {
        let segments = self.segments(decoder);
        let (rows, targets) = self.targets_of_rows();
        let layerwise = decoder.layerwise(&segments, &rows)?;
        let pass = Pass::default();
        let mut x = layerwise.embed(pass)?;
        for layer in 0..layerwise.layers() {
            x = layerwise.layer(layer, &x, pass)?;
        }
        let hidden = layerwise.norm(&x, pass)?;
        let mut loss = head_loss(decoder, &hidden, &targets, pass, 0.0, logits, &mut |_| Ok(()))?.loss;
        loss.tokens = self.tokens() as u64;
        Ok(loss)
    }

    /// Loss and gradients, the latter added to `gradients`; `logits` is a buffer for them.
    pub(super) fn gradient(
        &self,
        decoder: &Decoder,
        index: &ParameterIndex,
        settings: MicroBatchSettings,
        gradients: &mut Gradients,
        logits: &mut Vec<f32>,
    ) -> Result<StepLoss, TrainError> {
        let segments = self.segments(decoder);
        let (rows, targets) = self.targets_of_rows();
        let layerwise = decoder.layerwise(&segments, &rows)?;
        let dropout = Some(crate::rng::stream_key(settings.seed, &["dropout", &self.number.to_string()]));
        let recorded = Pass { record: true, dropout };
        let forward = Pass { record: !settings.recompute, dropout };
        let embedded = layerwise.embed(recorded)?;
        let mut x = embedded.detach();
        // Input of each layer, and its output with the graph that leads to it unless that is recomputed.
        let mut activations = Vec::with_capacity(layerwise.layers());
        for layer in 0..layerwise.layers() {
            let input = Var::from_tensor(&x)?;
            let output = if settings.recompute {
                layerwise.layer(layer, &x, forward)?
            } else {
                layerwise.layer(layer, input.as_tensor(), forward)?
            };
            x = output.detach();
            activations.push((input, (!settings.recompute).then_some(output)));
        }
        let input = Var::from_tensor(&x)?;
        drop(x);
        let hidden = layerwise.norm(input.as_tensor(), recorded)?;
        let mut backward = Backward { index, gradients };
        let mut collect = |store: &GradStore| backward.collect(store);
        let head = head_loss(decoder, &hidden.detach(), &targets, recorded, settings.scale, logits, &mut collect)?;
        let mut loss = head.loss;
        loss.tokens = self.tokens() as u64;
        let mut gradient = backward.backward_layer(&hidden, head.gradient, &input)?;
        drop(hidden);
        while let Some((input, output)) = activations.pop() {
            let layer = activations.len();
            let output = match output {
                Some(output) => output,
                None => layerwise.layer(layer, input.as_tensor(), recorded)?,
            };
            gradient = backward.backward_layer(&output, gradient, &input)?;
        }
        if embedded.track_op() {
            let store = seed_gradient(&embedded, gradient)?.backward()?;
            backward.collect(&store)?;
        }
        Ok(loss)
    }
}

/// Index of each variable among the parameters.
#[derive(Debug)]
pub(crate) struct ParameterIndex(IndexById);

/// Looked up only, never walked through; tensor ids have no order.
#[expect(clippy::disallowed_types, reason = "ids can only be hashed")]
type IndexById = std::collections::HashMap<TensorId, usize>;

impl ParameterIndex {
    /// Indexes these parameters.
    #[must_use]
    pub(crate) fn new(parameters: &[Parameter]) -> Self {
        Self(parameters.iter().enumerate().map(|(index, p)| (p.variable.id(), index)).collect())
    }
}

/// Collects gradients in the backward pass.
struct Backward<'a> {
    index: &'a ParameterIndex,
    gradients: &'a mut Gradients,
}

impl Backward<'_> {
    /// Takes the parameters' gradients out of a store.
    fn collect(&mut self, store: &GradStore) -> Result<(), TrainError> {
        for id in store.get_ids() {
            if let (Some(gradient), Some(parameter)) = (store.get_id(*id), self.index.0.get(id)) {
                let values: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
                self.gradients.add(*parameter, &values);
            }
        }
        Ok(())
    }

    /// Computes the gradient of the input from that of the output, and collects the parameters' gradients.
    fn backward_layer(&mut self, output: &Tensor, gradient: Tensor, input: &Var) -> Result<Tensor, TrainError> {
        let mut store = seed_gradient(output, gradient)?.backward()?;
        self.collect(&store)?;
        store.remove(input.as_tensor()).ok_or_else(|| DecoderError::Rows.into())
    }
}

/// Scalar whose backward pass starts from this gradient of `output`.
pub(super) fn seed_gradient(output: &Tensor, gradient: Tensor) -> candle_core::Result<Tensor> {
    output.apply_op1(SeedGradient { gradient })
}

struct SeedGradient {
    gradient: Tensor,
}

impl CustomOp1 for SeedGradient {
    fn name(&self) -> &'static str {
        "seed-gradient"
    }

    fn cpu_fwd(&self, _storage: &CpuStorage, _layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _arg: &Tensor, _res: &Tensor, _grad_res: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.gradient.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_are_few_and_even() {
        assert_eq!(example_counts(&[]), Vec::<usize>::new());
        assert_eq!(example_counts(&[100, 100]), [2]);
        assert_eq!(example_counts(&[100, 100, 100, 100, 100]), [2, 2, 1]);
        // Three would do, the first of 250: four are more even.
        assert_eq!(example_counts(&[90, 80, 80, 90, 80, 80, 60]), [2, 2, 2, 1]);
        assert_eq!(example_counts(&[115; 8]), [2, 2, 2, 2]);
        // A long one stands alone.
        assert_eq!(example_counts(&[900, 30, 40, 50]), [1, 3]);
        assert_eq!(example_counts(&[250, 6, 250, 6, 20, 20, 20, 20]), [1, 1, 1, 5]);
    }
}
