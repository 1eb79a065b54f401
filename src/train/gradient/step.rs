//! All units of a step on all threads, their gradients added in order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::unit::{Memory, ParameterIndex, Setting, Unit, units};
use crate::error::{Cancelled, Error, Result};
use crate::event::CancelFlag;
use crate::model::Decoder;
use crate::train::data::Example;
use crate::train::parameter::{Gradients, Parameter};

/// Sums over the trained tokens of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepLoss {
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
    pub fn mean(&self) -> f64 {
        self.sum / self.targets as f64
    }
}

/// How a step's gradient is computed.
#[derive(Debug, Clone, Copy)]
pub struct StepSetting {
    /// Whether layers are computed again in the backward pass instead of kept.
    pub recompute: bool,
    /// Seed of dropout.
    pub seed: u64,
    /// Number of the step's first unit.
    pub first_unit: u64,
}

/// Mean loss over all trained tokens of the examples, and its gradients.
///
/// # Errors
/// What the decoder says; `Cancelled`.
pub fn step_gradient(
    decoder: &Decoder,
    parameters: &[Parameter],
    examples: &[&Example],
    setting: StepSetting,
    cancel: &CancelFlag,
) -> Result<(StepLoss, Gradients)> {
    let units = units(examples.iter().copied(), setting.first_unit);
    let targets: usize = units.iter().map(Unit::targets).sum();
    let index = ParameterIndex::new(parameters);
    let setting =
        Setting { scale: (1.0 / targets.max(1) as f64) as f32, recompute: setting.recompute, seed: setting.seed };
    let mut gradients = Gradients::new(parameters.len());
    let loss = in_order(
        units.len(),
        cancel,
        || Memory { gradients: Gradients::new(parameters.len()), logits: Vec::new() },
        |unit, own| Ok(units[unit].gradient(decoder, &index, setting, own)?),
        |own| gradients.take_from(&mut own.gradients),
    )?;
    Ok((loss, gradients))
}

/// Mean loss over all trained tokens of the examples.
///
/// # Errors
/// What the decoder says; `Cancelled`.
pub fn validation_loss(decoder: &Decoder, examples: &[Example], cancel: &CancelFlag) -> Result<StepLoss> {
    let units = units(examples, 0);
    in_order(units.len(), cancel, Vec::new, |unit, logits| Ok(units[unit].loss(decoder, logits)?), |_| ())
}

/// Whose turn it is to add, and the sum so far.
struct Turn<F> {
    next: usize,
    loss: StepLoss,
    failure: Option<Error>,
    add: F,
}

/// Runs jobs on every thread of the pool and adds up their results in the order of their numbers.
fn in_order<T>(
    count: usize,
    cancel: &CancelFlag,
    memory: impl Fn() -> T + Sync,
    job: impl Fn(usize, &mut T) -> Result<StepLoss> + Sync,
    add: impl FnMut(&mut T) + Send,
) -> Result<StepLoss> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let turn = Mutex::new(Turn { next: 0, loss: StepLoss::default(), failure: None, add });
    let changed = Condvar::new();
    let lock = || -> MutexGuard<'_, Turn<_>> { turn.lock().unwrap_or_else(PoisonError::into_inner) };
    let work = || {
        let mut own = memory();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count || failed.load(Ordering::Relaxed) {
                return;
            }
            let result = if cancel.is_cancelled() { Err(Cancelled.into()) } else { job(index, &mut own) };
            let mut turn = lock();
            while turn.next != index && turn.failure.is_none() {
                turn = changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
            }
            match result {
                _ if turn.failure.is_some() => return,
                Ok(loss) => {
                    turn.loss.add(&loss);
                    (turn.add)(&mut own);
                    turn.next += 1;
                }
                Err(error) => {
                    turn.failure = Some(error);
                    failed.store(true, Ordering::Relaxed);
                }
            }
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..rayon::current_num_threads().min(count) {
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let turn = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
    turn.failure.map_or(Ok(turn.loss), Err)
}
