//! A progress bar with bytes, speed and remaining time.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::training::{Meter, planned};
use crate::event::{Event, Reporter};
use crate::visible;

/// Draws on stderr; removed when dropped.
#[derive(Default)]
pub(crate) struct Bars {
    bar: Mutex<Option<ProgressBar>>,
    training: Mutex<Option<Meter>>,
}

const TEMPLATE: &str = "{msg:.bold} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} ETA {eta}";
const STEPS: &str = "training [{bar:30}] {pos}/{len} steps  {msg}";
const REQUESTS: &str = "scoring [{bar:30}] {pos}/{len} requests {per_sec} ETA {eta}";

impl Reporter for Bars {
    fn event(&self, event: Event) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::PlanReady { bytes_read, bytes_written, .. } => {
                let new = ProgressBar::with_draw_target(Some(bytes_read + bytes_written), ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                    new.set_style(style.progress_chars("=> "));
                }
                new.set_message(if bytes_written == 0 { "reading" } else { "merging" });
                *bar = Some(new);
            }
            Event::BytesRead(n) | Event::BytesWritten(n) => {
                if let Some(bar) = &*bar {
                    bar.inc(n);
                }
            }
            Event::Syncing => {
                if let Some(bar) = &*bar {
                    bar.set_message("syncing");
                }
            }
            Event::StageStarted { index, count, name } => {
                let name = visible::value(name.as_deref().unwrap_or("output"));
                line(bar.as_ref(), &format!("stage {} of {count}: {name}", index + 1));
            }
            Event::StepStarted { index, count, name } => {
                line(bar.as_ref(), &format!("[{} of {count}] {}", index + 1, visible::value(&name)));
            }
            Event::HashingInputs { bytes } => {
                line(bar.as_ref(), &format!("hashing {} of input", crate::cli::size::human_bytes(bytes)));
            }
            Event::Warning(message) | Event::Alert(message) => {
                line(bar.as_ref(), &format!("warning: {}", visible::message(&message)));
            }
            Event::ScoringStarted { requests, .. } => {
                let new = ProgressBar::with_draw_target(Some(requests as u64), ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template(REQUESTS) {
                    new.set_style(style.progress_chars("=> "));
                }
                *bar = Some(new);
            }
            Event::RequestsScored(n) => {
                if let Some(bar) = &*bar {
                    bar.inc(n as u64);
                }
            }
            Event::TrainingPlanned { steps, parameters, bytes, recompute, seconds } => {
                line(bar.as_ref(), &planned(steps, parameters, bytes, recompute, seconds));
            }
            Event::TrainingStarted { steps, done } => {
                let new = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template(STEPS) {
                    new.set_style(style.progress_chars("=> "));
                }
                new.set_position(done);
                *bar = Some(new);
                *self.training.lock().unwrap_or_else(PoisonError::into_inner) = Some(Meter::new(steps, done));
            }
            Event::TrainingStep { step, loss, tokens, .. } => {
                let mut training = self.training.lock().unwrap_or_else(PoisonError::into_inner);
                if let (Some(bar), Some(meter)) = (&*bar, &mut *training) {
                    bar.set_position(step);
                    bar.set_message(meter.step(step, loss, tokens));
                }
            }
            Event::TensorDone { .. } => {}
            Event::Finished => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

/// Prints above the bar.
fn line(bar: Option<&ProgressBar>, text: &str) {
    match bar {
        Some(bar) => bar.println(visible::block(text)),
        None => super::plain::write_line(text),
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}
