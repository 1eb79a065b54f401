//! All micro-batches of a step on all threads, their gradients added in order.

use crate::error::Result;
use crate::event::CancelFlag;
use crate::model::Decoder;
use crate::parallel::Workers;
use crate::train::data::Example;
use crate::train::gradient::micro_batch::{MicroBatch, MicroBatchSettings, ParameterIndex, split_micro_batches};
use crate::train::parameter::{Gradients, Parameter};

/// Sums over the trained tokens of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct StepLoss {
    /// Sum of the token losses, in nats.
    pub sum: f64,
    /// Trained tokens.
    pub targets: u64,
    /// All tokens.
    pub tokens: u64,
    /// Trained tokens that are the most probable ones.
    pub correct: u64,
    /// Sum of the distributions' entropies, in nats.
    pub entropy: f64,
}

impl StepLoss {
    fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        self.targets += other.targets;
        self.tokens += other.tokens;
        self.correct += other.correct;
        self.entropy += other.entropy;
    }

    /// Mean loss of a trained token.
    #[must_use]
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.targets as f64
    }
}

/// Settings of computing a step's gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepSettings {
    /// Whether layers are computed again in the backward pass instead of kept.
    pub recompute: bool,
    /// Seed of dropout.
    pub seed: u64,
    /// Number of the step's first micro_batch.
    pub first_micro_batch: u64,
    /// Threads that the micro_batches run on.
    pub workers: Workers,
}

/// Mean loss over all trained tokens of the examples, and its gradients.
///
/// # Errors
/// Errors of the decoder; `Cancelled`.
pub(crate) fn step_gradient(
    decoder: &Decoder,
    parameters: &[Parameter],
    examples: &[&Example],
    settings: StepSettings,
    cancel: &CancelFlag,
) -> Result<(StepLoss, Gradients)> {
    let micro_batches = split_micro_batches(examples.iter().copied(), settings.first_micro_batch);
    let targets: usize = micro_batches.iter().map(MicroBatch::targets).sum();
    let index = ParameterIndex::new(parameters);
    let workers = settings.workers;
    let settings = MicroBatchSettings {
        scale: (1.0 / targets.max(1) as f64) as f32,
        recompute: settings.recompute,
        seed: settings.seed,
    };
    let bytes: usize = parameters.iter().map(|parameter| 4 * parameter.elements()).sum();
    let mut gradients = Gradients::new(parameters.len());
    let mut loss = StepLoss::default();
    workers.ordered_reduce(
        micro_batches.len(),
        if bytes <= SMALL { workers.threads() } else { 0 },
        || (StepLoss::default(), Gradients::new(parameters.len())),
        |micro_batch, (loss, own), logits| -> Result<()> {
            cancel.check()?;
            *loss = micro_batches[micro_batch].gradient(decoder, &index, settings, own, logits)?;
            Ok(())
        },
        |(part, own)| {
            loss.add(part);
            gradients.take_from(own);
        },
    )?;
    Ok((loss, gradients))
}

/// Bytes of gradients of which each thread may have a second copy.
const SMALL: usize = 256 << 20;

/// Mean loss over all trained tokens of the examples.
///
/// # Errors
/// Errors of the decoder; `Cancelled`.
pub(crate) fn validation_loss(
    decoder: &Decoder,
    examples: &[Example],
    workers: Workers,
    cancel: &CancelFlag,
) -> Result<StepLoss> {
    let micro_batches = split_micro_batches(examples, 0);
    let mut loss = StepLoss::default();
    let job = |micro_batch: usize, own: &mut StepLoss, logits: &mut Vec<f32>| -> Result<()> {
        cancel.check()?;
        *own = micro_batches[micro_batch].loss(decoder, logits)?;
        Ok(())
    };
    workers.ordered_reduce(micro_batches.len(), 0, StepLoss::default, job, |part| loss.add(part))?;
    Ok(loss)
}
