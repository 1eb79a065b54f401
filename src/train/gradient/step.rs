//! All micro-batches of a step on all threads, their gradients added in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Cancelled, Error, Result};
use crate::event::CancelFlag;
use crate::model::Decoder;
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
    /// Number of the step's first micro-batch.
    pub first_micro_batch: u64,
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
    let parameter_index = ParameterIndex::new(parameters);
    let settings = MicroBatchSettings {
        scale: (1.0 / targets.max(1) as f64) as f32,
        recompute: settings.recompute,
        seed: settings.seed,
    };
    let bytes: usize = parameters.iter().map(|parameter| 4 * parameter.elements()).sum();
    let mut gradients = Gradients::new(parameters.len());
    let loss = accumulate_in_order(
        micro_batches.len(),
        if bytes <= SMALL { rayon::current_num_threads() } else { 0 },
        cancel,
        || Gradients::new(parameters.len()),
        |index, own, logits| Ok(micro_batches[index].gradient(decoder, &parameter_index, settings, own, logits)?),
        |own| gradients.take_from(own),
    )?;
    Ok((loss, gradients))
}

/// Bytes of gradients of which each thread may have a second copy.
const SMALL: usize = 256 << 20;

/// Mean loss over all trained tokens of the examples.
///
/// # Errors
/// Errors of the decoder; `Cancelled`.
pub(crate) fn validation_loss(decoder: &Decoder, examples: &[Example], cancel: &CancelFlag) -> Result<StepLoss> {
    let micro_batches = split_micro_batches(examples, 0);
    accumulate_in_order(
        micro_batches.len(),
        0,
        cancel,
        || (),
        |index, (), logits| Ok(micro_batches[index].loss(decoder, logits)?),
        |()| (),
    )
}

/// Adds results in the order of their numbers: the next number, the sum so far, and results that arrived early.
struct OrderedAccumulator<T, F> {
    next: usize,
    loss: StepLoss,
    failure: Option<Error>,
    add: F,
    early: BTreeMap<usize, (StepLoss, T)>,
    spare: Vec<T>,
}

impl<T, F: FnMut(&mut T)> OrderedAccumulator<T, F> {
    /// Takes a result, and adds all that are next in order.
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
/// may wait while their threads go on. A job is given an empty result and a buffer for logits.
fn accumulate_in_order<T: Send>(
    count: usize,
    ahead: usize,
    cancel: &CancelFlag,
    empty: impl Fn() -> T + Sync,
    job: impl Fn(usize, &mut T, &mut Vec<f32>) -> Result<StepLoss> + Sync,
    add: impl FnMut(&mut T) + Send,
) -> Result<StepLoss> {
    let next = AtomicUsize::new(0);
    let accumulator = OrderedAccumulator {
        next: 0,
        loss: StepLoss::default(),
        failure: None,
        add,
        early: BTreeMap::new(),
        spare: vec![],
    };
    let accumulator = Mutex::new(accumulator);
    let changed = Condvar::new();
    let lock =
        || -> MutexGuard<'_, OrderedAccumulator<_, _>> { accumulator.lock().unwrap_or_else(PoisonError::into_inner) };
    let work = || {
        let mut logits = Vec::new();
        let mut accumulator = lock();
        loop {
            // Whatever is early waits for a job that is under way, so that this ends.
            while accumulator.early.len() > ahead && accumulator.failure.is_none() {
                accumulator = changed.wait(accumulator).unwrap_or_else(PoisonError::into_inner);
            }
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count || accumulator.failure.is_some() {
                return;
            }
            let mut own = accumulator.spare.pop().unwrap_or_else(&empty);
            drop(accumulator);
            let result = if cancel.is_cancelled() { Err(Cancelled.into()) } else { job(index, &mut own, &mut logits) };
            accumulator = lock();
            match result {
                Ok(loss) => accumulator.take(index, loss, own),
                Err(error) => accumulator.failure = accumulator.failure.take().or(Some(error)),
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
    let accumulator = accumulator.into_inner().unwrap_or_else(PoisonError::into_inner);
    accumulator.failure.map_or(Ok(accumulator.loss), Err)
}
