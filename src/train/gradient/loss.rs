//! The output head and the cross-entropy, a few rows at a time and of trained tokens only.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use super::step::StepLoss;
use super::unit::inject;
use crate::model::kernels::cross_entropy;
use crate::model::{Decoder, DecoderError, Pass};
use crate::train::error::TrainError;

/// Rows whose logits exist at a time.
const ROWS: usize = 128;

/// What the head says of a unit.
pub(super) struct HeadLoss {
    pub(super) loss: StepLoss,
    /// Gradient of the hidden states; empty where no pass is recorded.
    pub(super) gradient: Tensor,
}

/// Cross-entropy of targets at hidden states `[rows, hidden_size]`, the gradient times `scale`.
///
/// `collect` is given what each backward pass through the head found.
pub(super) fn head_loss(
    decoder: &Decoder,
    hidden: &Tensor,
    targets: &[u32],
    pass: Pass,
    scale: f32,
    collect: &mut dyn FnMut(&GradStore) -> Result<(), TrainError>,
) -> Result<HeadLoss, TrainError> {
    let vocabulary = decoder.config().vocab_size;
    if let Some(&token) = targets.iter().find(|token| **token as usize >= vocabulary) {
        return Err(DecoderError::UnknownToken { token, vocabulary }.into());
    }
    let cap = decoder.config().logit_soft_cap;
    let mut loss = StepLoss::default();
    let mut gradients = Vec::new();
    for (chunk, targets) in targets.chunks(ROWS).enumerate() {
        let rows = Var::from_tensor(&hidden.narrow(0, chunk * ROWS, targets.len())?)?;
        let output = decoder.head().forward(rows.as_tensor(), pass)?;
        let mut logits: Vec<f32> = output.flatten_all()?.to_vec1()?;
        for (logits, &target) in logits.chunks_exact_mut(vocabulary).zip(targets) {
            let slopes: Option<Vec<f32>> = cap.map(|cap| {
                let squash = |logit: &mut f32| {
                    let t = (*logit / cap).tanh();
                    *logit = cap * t;
                    1.0 - t * t
                };
                logits.iter_mut().map(squash).collect()
            });
            let token = cross_entropy(logits, target as usize, scale);
            if let Some(slopes) = slopes {
                logits.iter_mut().zip(slopes).for_each(|(gradient, slope)| *gradient *= slope);
            }
            loss.sum += token.loss;
            loss.targets += 1;
            loss.correct += u64::from(token.correct);
            loss.entropy += token.entropy;
        }
        if pass.record {
            let gradient = Tensor::from_vec(logits, (targets.len(), vocabulary), &Device::Cpu)?;
            let mut store = inject(&output, gradient)?.backward()?;
            gradients.push(store.remove(rows.as_tensor()).ok_or(DecoderError::Rows)?);
            collect(&store)?;
        }
    }
    let gradient = if gradients.is_empty() { hidden.clone() } else { Tensor::cat(&gradients, 0)? };
    Ok(HeadLoss { loss, gradient })
}
