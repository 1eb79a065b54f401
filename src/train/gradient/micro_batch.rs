//! One unit's way through the decoder and back.

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, TensorId, Var};

use super::loss::head_loss;
use super::step::StepLoss;
use crate::model::{Decoder, DecoderError, Pass, Segment};
use crate::train::data::Example;
use crate::train::error::TrainError;
use crate::train::parameter::{Gradients, Parameter};

/// Tokens that go through the decoder at a time: enough for matrix products at full speed, few enough
/// that their activations stay small.
pub(crate) const UNIT_TOKENS: usize = 256;

/// Examples that go through the decoder together.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    examples: Vec<&'a Example>,
    /// Number among the run's units: part of the dropout's key.
    number: u64,
}

/// Cuts examples into units, in order: as many as are needed, or one more to make it an even number, and as even as
/// they come, so that threads have the same to do. Examples without a trained token are left out.
#[must_use]
pub(crate) fn units<'a>(examples: impl IntoIterator<Item = &'a Example>, first: u64) -> Vec<Unit<'a>> {
    let trained = |example: &&Example| example.trained.iter().skip(1).any(|trained| *trained);
    let examples: Vec<&Example> = examples.into_iter().filter(trained).collect();
    let lengths: Vec<usize> = examples.iter().map(|example| example.tokens.len()).collect();
    let mut rest = examples.as_slice();
    let mut units = Vec::new();
    for count in cuts(&lengths) {
        let (own, others) = rest.split_at(count);
        units.push(Unit { examples: own.to_vec(), number: first + units.len() as u64 });
        rest = others;
    }
    units
}

/// Splits a batch: the number of examples of each micro-batch.
fn cuts(lengths: &[usize]) -> Vec<usize> {
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
    let full = fill(UNIT_TOKENS);
    if full.len() < 2 {
        return full;
    }
    let count = full.len().next_multiple_of(2);
    // The least capacity that needs no more units than that.
    let (mut low, mut high) = (0, UNIT_TOKENS);
    while low < high {
        let middle = usize::midpoint(low, high);
        if fill(middle).len() <= count { high = middle } else { low = middle + 1 }
    }
    fill(high)
}

/// Settings of running a micro-batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// Factor on the sum of the token losses.
    pub(super) scale: f32,
    /// Whether layers are computed again in the backward pass.
    pub(super) recompute: bool,
    /// Seed of dropout.
    pub(super) seed: u64,
}

impl Unit<'_> {
    /// Tokens of all examples.
    pub(super) fn tokens(&self) -> usize {
        self.examples.iter().map(|example| example.tokens.len()).sum()
    }

    /// Trained tokens.
    pub(super) fn targets(&self) -> usize {
        self.examples.iter().map(|e| e.trained.iter().skip(1).filter(|trained| **trained).count()).sum()
    }

    /// Rows whose next token carries loss, over all examples laid end to end, and those tokens.
    fn wanted(&self) -> (Vec<usize>, Vec<u32>) {
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

    /// Loss without gradients; `logits` is room for them.
    pub(super) fn loss(&self, decoder: &Decoder, logits: &mut Vec<f32>) -> Result<StepLoss, TrainError> {
        let segments = self.segments(decoder);
        let (rows, targets) = self.wanted();
        let stages = decoder.stages(&segments, &rows)?;
        let pass = Pass::default();
        let mut x = stages.embed(pass)?;
        for layer in 0..stages.layers() {
            x = stages.layer(layer, &x, pass)?;
        }
        let hidden = stages.norm(&x, pass)?;
        let mut loss = head_loss(decoder, &hidden, &targets, pass, 0.0, logits, &mut |_| Ok(()))?.loss;
        loss.tokens = self.tokens() as u64;
        Ok(loss)
    }

    /// Loss and gradients, the latter added to `gradients`; `logits` is room for them.
    pub(super) fn gradient(
        &self,
        decoder: &Decoder,
        index: &ParameterIndex,
        setting: Setting,
        gradients: &mut Gradients,
        logits: &mut Vec<f32>,
    ) -> Result<StepLoss, TrainError> {
        let segments = self.segments(decoder);
        let (rows, targets) = self.wanted();
        let stages = decoder.stages(&segments, &rows)?;
        let dropout = Some(crate::rng::stream_key(setting.seed, &["dropout", &self.number.to_string()]));
        let recorded = Pass { record: true, dropout };
        let forward = Pass { record: !setting.recompute, dropout };
        let embedded = stages.embed(recorded)?;
        let mut x = embedded.detach();
        // A layer's input, and its output with what leads to it unless that is computed again.
        let mut trail = Vec::with_capacity(stages.layers());
        for layer in 0..stages.layers() {
            let input = Var::from_tensor(&x)?;
            let output = if setting.recompute {
                stages.layer(layer, &x, forward)?
            } else {
                stages.layer(layer, input.as_tensor(), forward)?
            };
            x = output.detach();
            trail.push((input, (!setting.recompute).then_some(output)));
        }
        let input = Var::from_tensor(&x)?;
        drop(x);
        let hidden = stages.norm(input.as_tensor(), recorded)?;
        let mut back = Backward { index, gradients };
        let mut collect = |store: &GradStore| back.collect(store);
        let head = head_loss(decoder, &hidden.detach(), &targets, recorded, setting.scale, logits, &mut collect)?;
        let mut loss = head.loss;
        loss.tokens = self.tokens() as u64;
        let mut gradient = back.through(&hidden, head.gradient, &input)?;
        drop(hidden);
        while let Some((input, output)) = trail.pop() {
            let layer = trail.len();
            let output = match output {
                Some(output) => output,
                None => stages.layer(layer, input.as_tensor(), recorded)?,
            };
            gradient = back.through(&output, gradient, &input)?;
        }
        if embedded.track_op() {
            let store = inject(&embedded, gradient)?.backward()?;
            back.collect(&store)?;
        }
        Ok(loss)
    }
}

/// Index of each variable among the parameters.
#[derive(Debug)]
pub(crate) struct ParameterIndex(Places);

/// Looked up only, never walked through; tensor ids have no order.
#[expect(clippy::disallowed_types, reason = "ids can only be hashed")]
type Places = std::collections::HashMap<TensorId, usize>;

impl ParameterIndex {
    /// Of these parameters.
    #[must_use]
    pub(crate) fn new(parameters: &[Parameter]) -> Self {
        Self(parameters.iter().enumerate().map(|(index, p)| (p.variable.id(), index)).collect())
    }
}

/// Collects gradients on the way back.
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

    /// From the gradient of an output to that of the input, the parameters' collected.
    fn through(&mut self, output: &Tensor, gradient: Tensor, input: &Var) -> Result<Tensor, TrainError> {
        let mut store = inject(output, gradient)?.backward()?;
        self.collect(&store)?;
        store.remove(input.as_tensor()).ok_or_else(|| DecoderError::Rows.into())
    }
}

/// A scalar whose backward pass gives `output` this gradient.
pub(super) fn inject(output: &Tensor, gradient: Tensor) -> candle_core::Result<Tensor> {
    output.apply_op1(Inject { gradient })
}

struct Inject {
    gradient: Tensor,
}

impl CustomOp1 for Inject {
    fn name(&self) -> &'static str {
        "inject"
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
    fn units_are_few_and_even() {
        assert_eq!(cuts(&[]), Vec::<usize>::new());
        assert_eq!(cuts(&[100, 100]), [2]);
        assert_eq!(cuts(&[100, 100, 100, 100, 100]), [2, 2, 1]);
        // Three would do, the first of 250: four are more even.
        assert_eq!(cuts(&[90, 80, 80, 90, 80, 80, 60]), [2, 2, 2, 1]);
        assert_eq!(cuts(&[115; 8]), [2, 2, 2, 2]);
        // A long one stands alone.
        assert_eq!(cuts(&[900, 30, 40, 50]), [1, 3]);
        assert_eq!(cuts(&[250, 6, 250, 6, 20, 20, 20, 20]), [1, 1, 1, 5]);
    }
}
