//! Events of a run.
//!
//! Work takes a [`Progress`] (a reporter and the cancel flag) and never prints. Consumers live in
//! `cli::report`. A merge calls in this order: warnings found while planning, at most one
//! [`Event::HashingInputs`], one [`Event::PlanReady`], then any number of [`Event::BytesRead`],
//! [`Event::BytesWritten`], [`Event::TensorDone`] and [`Event::Warning`], one [`Event::Syncing`],
//! one [`Event::Finished`]. A multi-stage recipe begins each stage with [`Event::StageStarted`] and
//! repeats the sequence from `PlanReady`; `Finished` comes once. An evaluation sends one
//! [`Event::ScoringStarted`] for each kind of request, [`Event::RequestsScored`] until they are
//! answered, and one `Finished`. An experiment begins each step with [`Event::StepStarted`], whose own
//! events follow, and ends with a `Finished` of its own.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Cancelled;

/// Something that happened; cheap to make, at most one per chunk in hot loops.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stage of a multi-document recipe begins (`index` counts from 0).
    StageStarted {
        /// Position of the stage in execution order.
        index: usize,
        /// Number of stages.
        count: usize,
        /// The stage's `name:`, if it has one.
        name: Option<String>,
    },
    /// Input files are to be hashed: while the merge reads them, or as a whole before or after it.
    HashingInputs {
        /// Bytes that were not in the hash cache.
        bytes: u64,
    },
    /// The plan is complete; nothing has been computed yet.
    PlanReady {
        /// Output tensors.
        tensors: usize,
        /// Bytes of all mapped inputs that the plan reads at least once.
        bytes_read: u64,
        /// Bytes that will be written to shards.
        bytes_written: u64,
    },
    /// Bytes of input consumed by the final pass since the last event of this kind.
    BytesRead(u64),
    /// Bytes of output written since the last event of this kind.
    BytesWritten(u64),
    /// An output tensor is complete.
    TensorDone {
        /// Name of the tensor.
        name: String,
    },
    /// All bytes are computed; files are being synced and hashed.
    Syncing,
    /// Requests are about to be answered by a model (`cached` of them already were).
    ScoringStarted {
        /// Requests that need the model.
        requests: usize,
        /// Requests answered by an earlier run.
        cached: usize,
    },
    /// Requests answered since the last event of this kind.
    RequestsScored(usize),
    /// Needs of a training run, before it starts.
    TrainingPlanned {
        /// Optimiser steps.
        steps: u64,
        /// Trained elements.
        parameters: u64,
        /// Estimated memory.
        bytes: u64,
        /// Whether activations are computed again in the backward pass.
        recompute: bool,
        /// Estimated seconds.
        seconds: f64,
    },
    /// Training begins, or goes on.
    TrainingStarted {
        /// Optimiser steps in all.
        steps: u64,
        /// Steps of earlier processes.
        done: u64,
    },
    /// An optimiser step has been taken.
    TrainingStep {
        /// Step number, from 1.
        step: u64,
        /// Mean loss of its trained tokens.
        loss: f64,
        /// Tokens it saw.
        tokens: u64,
        /// Learning rate of the step.
        learning_rate: f64,
    },
    /// A step of an experiment begins (`index` counts from 0, among the steps that run).
    StepStarted {
        /// Position among the steps that run.
        index: usize,
        /// Number of steps that run.
        count: usize,
        /// Name of the step.
        name: String,
    },
    /// Something the user should know; the run goes on.
    Warning(String),
    /// A warning that the result may not be what was meant; shown even with `--quiet`.
    Alert(String),
    /// The output is published.
    Finished,
}

/// Receives events, from any thread.
pub trait Reporter: Sync {
    /// Takes one event. Must return quickly: hot loops call it once a chunk.
    fn event(&self, event: Event);
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _event: Event) {}
}

/// A flag that asks long work to stop at the next chunk.
#[derive(Debug, Default)]
pub struct CancelFlag {
    raised: AtomicBool,
    noticed: AtomicBool,
}

impl CancelFlag {
    /// A flag that is not raised.
    #[must_use]
    pub const fn new() -> Self {
        Self { raised: AtomicBool::new(false), noticed: AtomicBool::new(false) }
    }

    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.raised.store(true, Ordering::SeqCst);
    }

    /// Whether someone asked to stop. For the work, which then stops: see [`is_noticed`](Self::is_noticed).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let raised = self.raised.load(Ordering::Relaxed);
        if raised {
            self.noticed.store(true, Ordering::Relaxed);
        }
        raised
    }

    /// Whether the work has looked at the raised flag, so that it is about to stop.
    #[must_use]
    pub fn is_noticed(&self) -> bool {
        self.noticed.load(Ordering::Relaxed)
    }

    /// `Err(Cancelled)` once someone asked to stop.
    ///
    /// # Errors
    /// [`Cancelled`] when the flag is raised.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

/// Reporter and cancel flag, passed down to long work.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    /// Receiver of events.
    pub reporter: &'a dyn Reporter,
    /// Checked between chunks.
    pub cancel: &'a CancelFlag,
}

impl Progress<'static> {
    /// Drops every event, and is never cancelled.
    #[must_use]
    pub fn silent() -> Self {
        static NEVER: CancelFlag = CancelFlag::new();
        Self { reporter: &Silent, cancel: &NEVER }
    }
}

impl Progress<'_> {
    /// Sends one event.
    pub fn event(&self, event: Event) {
        self.reporter.event(event);
    }

    /// Sends a warning that `--quiet` does not hide.
    pub fn alert(&self, message: impl Into<String>) {
        self.reporter.event(Event::Alert(message.into()));
    }

    /// Sends a warning.
    pub fn warn(&self, message: impl Into<String>) {
        self.reporter.event(Event::Warning(message.into()));
    }
}
