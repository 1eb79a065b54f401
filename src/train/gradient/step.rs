//! All units of a step on all threads, their gradients added in order.

use crate::error::Result;
use crate::event::CancelFlag;
use crate::model::Decoder;
use crate::parallel::Workers;
use crate::train::data::Example;
use crate::train::gradient::micro_batch::{ParameterIndex, Setting, Unit, units};
use crate::train::parameter::{Gradients, Parameter};

/// Sums over the trained tokens of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct StepLoss {
    /// Of the token losses, in nats.
    pub sum: f64,
    /// Trained tokens.
    pub targets: u64,
    /// All tokens.
    pub tokens: u64,
    /// Trained tokens that are the most probable ones.
    pub correct: u64,
    /// Of the distributions' entropies, in nats.
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

/// How a step's gradient is computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepSetting {
    /// Whether layers are computed again in the backward pass instead of kept.
    pub recompute: bool,
    /// Seed of dropout.
    pub seed: u64,
    /// Number of the step's first unit.
    pub first_unit: u64,
    /// Threads that the units run on.
    pub workers: Workers,
}

/// Mean loss over all trained tokens of the examples, and its gradients.
///
/// # Errors
/// What the decoder says; `Cancelled`.
pub(crate) fn step_gradient(
    decoder: &Decoder,
    parameters: &[Parameter],
    examples: &[&Example],
    setting: StepSetting,
    cancel: &CancelFlag,
) -> Result<(StepLoss, Gradients)> {
    let units = units(examples.iter().copied(), setting.first_unit);
    let targets: usize = units.iter().map(Unit::targets).sum();
    let index = ParameterIndex::new(parameters);
    let workers = setting.workers;
    let setting =
        Setting { scale: (1.0 / targets.max(1) as f64) as f32, recompute: setting.recompute, seed: setting.seed };
    let bytes: usize = parameters.iter().map(|parameter| 4 * parameter.elements()).sum();
    let mut gradients = Gradients::new(parameters.len());
    let mut loss = StepLoss::default();
    workers.ordered_reduce(
        units.len(),
        if bytes <= SMALL { workers.threads() } else { 0 },
        || (StepLoss::default(), Gradients::new(parameters.len())),
        |unit, (loss, own), logits| -> Result<()> {
            cancel.check()?;
            *loss = units[unit].gradient(decoder, &index, setting, own, logits)?;
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
/// What the decoder says; `Cancelled`.
pub(crate) fn validation_loss(
    decoder: &Decoder,
    examples: &[Example],
    workers: Workers,
    cancel: &CancelFlag,
) -> Result<StepLoss> {
    let units = units(examples, 0);
    let mut loss = StepLoss::default();
    let job = |unit: usize, own: &mut StepLoss, logits: &mut Vec<f32>| -> Result<()> {
        cancel.check()?;
        *own = units[unit].loss(decoder, logits)?;
        Ok(())
    };
    workers.ordered_reduce(units.len(), 0, StepLoss::default, job, |part| loss.add(part))?;
    Ok(loss)
}
