//! All units of a step on all threads, their gradients added in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Cancelled, Error, Result};
use crate::event::CancelFlag;
use crate::model::Decoder;
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

/// Settings of computing a step's gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepSetting {
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
    let setting =
        Setting { scale: (1.0 / targets.max(1) as f64) as f32, recompute: setting.recompute, seed: setting.seed };
    let bytes: usize = parameters.iter().map(|parameter| 4 * parameter.elements()).sum();
    let mut gradients = Gradients::new(parameters.len());
    let loss = in_order(
        units.len(),
        if bytes <= SMALL { rayon::current_num_threads() } else { 0 },
        cancel,
        || Gradients::new(parameters.len()),
        |unit, own, logits| Ok(units[unit].gradient(decoder, &index, setting, own, logits)?),
        |own| gradients.take_from(own),
    )?;
    Ok((loss, gradients))
}

/// Bytes of gradients of which each thread may have a second copy.
const SMALL: usize = 256 << 20;

/// Mean loss over all trained tokens of the examples.
///
/// # Errors
/// What the decoder says; `Cancelled`.
pub(crate) fn validation_loss(decoder: &Decoder, examples: &[Example], cancel: &CancelFlag) -> Result<StepLoss> {
    let units = units(examples, 0);
    in_order(units.len(), 0, cancel, || (), |unit, (), logits| Ok(units[unit].loss(decoder, logits)?), |()| ())
}

/// Adds results in the order of their numbers: the next number, the sum so far, and results that arrived early.
struct Turn<T, F> {
    next: usize,
    loss: StepLoss,
    failure: Option<Error>,
    add: F,
    early: BTreeMap<usize, (StepLoss, T)>,
    spare: Vec<T>,
}

impl<T, F: FnMut(&mut T)> Turn<T, F> {
    /// Takes a result, and adds all whose turn it is.
    fn take(&mut self, index: usize, loss: StepLoss, own: T) {
        self.early.insert(index, (loss, own));
        while let Some((loss, mut own)) = self.early.remove(&self.next) {
            self.loss.add(&loss);
            (self.add)(&mut own);
            self.spare.push(own);
            self.next += 1;
        }
    }
}

/// Runs jobs on every thread of the pool and adds up their results in the order of their numbers, of which `ahead`
/// may wait for their turn while their threads go on. A job is given an empty result and room for logits.
fn in_order<T: Send>(
    count: usize,
    ahead: usize,
    cancel: &CancelFlag,
    empty: impl Fn() -> T + Sync,
    job: impl Fn(usize, &mut T, &mut Vec<f32>) -> Result<StepLoss> + Sync,
    add: impl FnMut(&mut T) + Send,
) -> Result<StepLoss> {
    let next = AtomicUsize::new(0);
    let turn = Turn { next: 0, loss: StepLoss::default(), failure: None, add, early: BTreeMap::new(), spare: vec![] };
    let turn = Mutex::new(turn);
    let changed = Condvar::new();
    let lock = || -> MutexGuard<'_, Turn<_, _>> { turn.lock().unwrap_or_else(PoisonError::into_inner) };
    let work = || {
        let mut logits = Vec::new();
        let mut turn = lock();
        loop {
            // Whatever is early waits for a job that is under way, so that this ends.
            while turn.early.len() > ahead && turn.failure.is_none() {
                turn = changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
            }
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count || turn.failure.is_some() {
                return;
            }
            let mut own = turn.spare.pop().unwrap_or_else(&empty);
            drop(turn);
            let result = if cancel.is_cancelled() { Err(Cancelled.into()) } else { job(index, &mut own, &mut logits) };
            turn = lock();
            match result {
                Ok(loss) => turn.take(index, loss, own),
                Err(error) => turn.failure = turn.failure.take().or(Some(error)),
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
