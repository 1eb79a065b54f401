//! The output head and the cross-entropy, some rows at a time and of trained tokens only.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use super::step::StepLoss;
use crate::compute::nn::{cross_entropy, soft_cap};
use crate::model::ops::PackedLinear;
use crate::model::{Decoder, DecoderError, Pass};
use crate::train::error::TrainError;
use crate::train::gradient::micro_batch::seed_gradient;

/// Rows whose logits exist at a time: enough for products at full speed.
pub(crate) const LOGIT_ROWS: usize = 256;

/// Loss of a micro-batch, and the gradient at the head's input.
pub(super) struct HeadLoss {
    pub(super) loss: StepLoss,
    /// Gradient of the hidden states; empty where no pass is recorded.
    pub(super) gradient: Tensor,
}

/// Cross-entropy of targets at hidden states `[rows, hidden_size]`, the gradient times `scale`.
///
/// `collect` receives the gradients of each backward pass through the head; `memory` is used for logits.
pub(super) fn head_loss(
    decoder: &Decoder,
    hidden: &Tensor,
    targets: &[u32],
    pass: Pass,
    scale: f32,
    memory: &mut Vec<f32>,
    collect: &mut dyn FnMut(&GradStore) -> Result<(), TrainError>,
) -> Result<HeadLoss, TrainError> {
    let vocabulary = decoder.config().vocab_size;
    if let Some(&token) = targets.iter().find(|token| **token as usize >= vocabulary) {
        return Err(DecoderError::UnknownToken { token, vocabulary }.into());
    }
    let distribution = Distribution { vocabulary, cap: decoder.config().logit_soft_cap, scale };
    match decoder.head().frozen() {
        Some(head) => frozen_head(head, distribution, hidden, targets, pass, memory),
        None => trained_head(decoder, distribution, hidden, targets, pass, collect),
    }
}

/// A frozen head needs no tape: its logits become their gradient where they are.
fn frozen_head(
    head: &PackedLinear,
    distribution: Distribution,
    hidden: &Tensor,
    targets: &[u32],
    pass: Pass,
    memory: &mut Vec<f32>,
) -> Result<HeadLoss, TrainError> {
    let (vocabulary, width) = (distribution.vocabulary, head.weight.k());
    let values: Vec<f32> = hidden.flatten_all()?.to_vec1()?;
    if values.len() != targets.len() * width || head.weight.n() != vocabulary {
        return Err(DecoderError::Rows.into());
    }
    let mut loss = StepLoss::default();
    let mut gradient = vec![0.0; if pass.record { values.len() } else { 0 }];
    memory.resize(memory.len().max(LOGIT_ROWS.min(targets.len()) * vocabulary), 0.0);
    for (chunk, targets) in targets.chunks(LOGIT_ROWS).enumerate() {
        let rows = chunk * LOGIT_ROWS * width..(chunk * LOGIT_ROWS + targets.len()) * width;
        let logits = &mut memory[..targets.len() * vocabulary];
        head.weight.matmul(&values[rows.clone()], head.bias.as_deref(), logits);
        distribution.losses(logits, targets, &mut loss);
        if pass.record {
            head.weight.matmul_transposed(logits, &mut gradient[rows]);
        }
    }
    let gradient = if pass.record { Tensor::from_vec(gradient, hidden.shape(), &Device::Cpu)? } else { hidden.clone() };
    Ok(HeadLoss { loss, gradient })
}

/// Computes gradients of trained head parameters by the tape.
fn trained_head(
    decoder: &Decoder,
    distribution: Distribution,
    hidden: &Tensor,
    targets: &[u32],
    pass: Pass,
    collect: &mut dyn FnMut(&GradStore) -> Result<(), TrainError>,
) -> Result<HeadLoss, TrainError> {
    let mut loss = StepLoss::default();
    let mut gradients = Vec::new();
    for (chunk, targets) in targets.chunks(LOGIT_ROWS).enumerate() {
        let rows = Var::from_tensor(&hidden.narrow(0, chunk * LOGIT_ROWS, targets.len())?)?;
        let output = decoder.head().forward(rows.as_tensor(), pass)?;
        let mut logits: Vec<f32> = output.flatten_all()?.to_vec1()?;
        distribution.losses(&mut logits, targets, &mut loss);
        if pass.record {
            let gradient = Tensor::from_vec(logits, (targets.len(), distribution.vocabulary), &Device::Cpu)?;
            let mut store = seed_gradient(&output, gradient)?.backward()?;
            gradients.push(store.remove(rows.as_tensor()).ok_or(DecoderError::Rows)?);
            collect(&store)?;
        }
    }
    let gradient = if gradients.is_empty() { hidden.clone() } else { Tensor::cat(&gradients, 0)? };
    Ok(HeadLoss { loss, gradient })
}

/// Conversion of logits to probabilities, and the factor of gradients.
#[derive(Clone, Copy)]
struct Distribution {
    vocabulary: usize,
    cap: Option<f32>,
    scale: f32,
}

impl Distribution {
    /// Adds the losses of rows of logits, which become their gradient.
    fn losses(self, logits: &mut [f32], targets: &[u32], loss: &mut StepLoss) {
        for (logits, &target) in logits.chunks_exact_mut(self.vocabulary).zip(targets) {
            let slopes: Option<Vec<f32>> = self.cap.map(|cap| {
                // The kernel's tanh: a library's differs between CPUs in the last bit.
                soft_cap(cap, logits);
                logits.iter().map(|logit| 1.0 - (logit / cap) * (logit / cap)).collect()
            });
            let token = cross_entropy(logits, target as usize, self.scale);
            if let Some(slopes) = slopes {
                logits.iter_mut().zip(slopes).for_each(|(gradient, slope)| *gradient *= slope);
            }
            loss.sum += token.loss;
            loss.targets += 1;
            loss.correct += u64::from(token.correct);
            loss.entropy += token.entropy;
        }
    }
}
