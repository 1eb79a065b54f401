//! Lines for logs: the plan, a line every few seconds, warnings.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::training::{Meter, planned};
use crate::cli::size::human_bytes;
use crate::event::{Event, Reporter};
use crate::visible;

/// Writes to stderr.
#[derive(Default)]
pub(crate) struct Plain(Mutex<Counters>);

#[derive(Default)]
struct Counters {
    state: Option<State>,
    training: Option<(Meter, Instant)>,
}

struct State {
    started: Instant,
    last: Instant,
    done: u64,
    total: u64,
}

/// Time between two progress lines.
const PAUSE: Duration = Duration::from_secs(5);

impl Reporter for Plain {
    fn event(&self, event: Event) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counters { state, training } = &mut *counters;
        match event {
            Event::StageStarted { index, count, name } => {
                write_line(&format!(
                    "stage {} of {count}: {}",
                    index + 1,
                    visible::value(name.as_deref().unwrap_or("output"))
                ));
            }
            Event::HashingInputs { bytes } => write_line(&format!("hashing {} of input", human_bytes(bytes))),
            Event::PlanReady { tensors, bytes_read, bytes_written } => {
                let now = Instant::now();
                *state = Some(State { started: now, last: now, done: 0, total: bytes_read + bytes_written });
                let read = human_bytes(bytes_read);
                write_line(&if bytes_written == 0 {
                    format!("reading {tensors} tensors, {read}")
                } else {
                    format!("merging {tensors} tensors: reading {read}, writing {}", human_bytes(bytes_written))
                });
            }
            Event::BytesRead(n) | Event::BytesWritten(n) => {
                if let Some(state) = state {
                    state.done += n;
                    if state.last.elapsed() >= PAUSE {
                        state.last = Instant::now();
                        let seconds = state.started.elapsed().as_secs_f64();
                        let rate = state.done as f64 / seconds;
                        let left = (state.total.saturating_sub(state.done)) as f64 / rate.max(1.0);
                        write_line(&format!(
                            "{:3.0} %  {} of {}  {:.1} GB/s  {left:.0} s left",
                            state.done as f64 * 100.0 / state.total.max(1) as f64,
                            human_bytes(state.done),
                            human_bytes(state.total),
                            rate / 1e9
                        ));
                    }
                }
            }
            Event::ScoringStarted { requests, cached } => {
                let now = Instant::now();
                *state = Some(State { started: now, last: now, done: 0, total: requests as u64 });
                write_line(&format!("scoring {requests} requests ({cached} answered by an earlier run)"));
            }
            Event::RequestsScored(n) => {
                if let Some(state) = state {
                    state.done += n as u64;
                    if state.last.elapsed() >= PAUSE {
                        state.last = Instant::now();
                        let rate = state.done as f64 / state.started.elapsed().as_secs_f64();
                        let left = state.total.saturating_sub(state.done) as f64 / rate.max(1e-9);
                        write_line(&format!(
                            "{} of {} requests  {rate:.1} requests/s  {left:.0} s left",
                            state.done, state.total
                        ));
                    }
                }
            }
            Event::TrainingPlanned { steps, parameters, bytes, recompute, seconds } => {
                write_line(&planned(steps, parameters, bytes, recompute, seconds));
            }
            Event::TrainingStarted { steps, done } => {
                *training = Some((Meter::new(steps, done), Instant::now()));
            }
            Event::TrainingStep { step, loss, tokens, .. } => {
                if let Some((meter, last)) = training {
                    let line = meter.step(step, loss, tokens);
                    if last.elapsed() >= PAUSE || step == meter.total {
                        *last = Instant::now();
                        write_line(&format!("step {step} of {}  {line}", meter.total));
                    }
                }
            }
            Event::StepStarted { index, count, name } => {
                write_line(&format!("[{} of {count}] {}", index + 1, visible::value(&name)));
            }
            Event::Warning(message) | Event::Alert(message) => {
                write_line(&format!("warning: {}", visible::message(&message)));
            }
            Event::TensorDone { .. } | Event::Syncing | Event::Finished => {}
        }
    }
}

/// One line on stderr, without characters that act on a terminal; a log that can't be written to is not worth failing for.
pub(crate) fn write_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", visible::block(text));
}
