//! Events as JSON lines on stderr. Byte counts are summed up and sent ten times a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::plain::write_line;
use crate::event::{Event, Reporter};
use crate::visible;

/// Writes to stderr.
#[derive(Default)]
pub(crate) struct JsonLines(Mutex<Bytes>);

#[derive(Default)]
struct Bytes {
    read: u64,
    written: u64,
    sent: Option<Instant>,
}

const PAUSE: Duration = Duration::from_millis(100);

impl Bytes {
    fn line(&mut self) -> Value {
        self.sent = Some(Instant::now());
        json!({"event": "progress", "bytes_read": self.read, "bytes_written": self.written})
    }
}

fn write_json(line: &Value) {
    write_line(&visible::json(&line.to_string()));
}

impl Reporter for JsonLines {
    fn event(&self, event: Event) {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match event {
            Event::BytesRead(n) | Event::BytesWritten(n) => {
                let total = if matches!(event, Event::BytesRead(_)) { &mut bytes.read } else { &mut bytes.written };
                *total += n;
                if bytes.sent.is_some_and(|at| at.elapsed() < PAUSE) {
                    return;
                }
                bytes.line()
            }
            Event::Syncing => {
                write_json(&bytes.line());
                json!({"event": "syncing"})
            }
            Event::StageStarted { index, count, name } => {
                json!({"event": "stage_started", "index": index, "count": count, "name": name})
            }
            Event::HashingInputs { bytes } => json!({"event": "hashing_inputs", "bytes": bytes}),
            Event::PlanReady { tensors, bytes_read, bytes_written } => json!({
                "event": "plan_ready", "tensors": tensors, "bytes_read": bytes_read, "bytes_written": bytes_written,
            }),
            Event::TensorDone { name } => json!({"event": "tensor_done", "tensor": name}),
            Event::ScoringStarted { requests, cached } => {
                json!({"event": "scoring_started", "requests": requests, "cached": cached})
            }
            Event::RequestsScored(n) => json!({"event": "requests_scored", "requests": n}),
            Event::TrainingPlanned { steps, parameters, bytes, recompute, seconds } => json!({
                "event": "training_planned", "steps": steps, "parameters": parameters, "bytes": bytes,
                "recompute": recompute, "seconds": seconds,
            }),
            Event::TrainingStarted { steps, done } => {
                json!({"event": "training_started", "steps": steps, "done": done})
            }
            Event::TrainingStep { step, loss, tokens, learning_rate } => json!({
                "event": "training_step", "step": step, "loss": loss, "tokens": tokens, "learning_rate": learning_rate,
            }),
            Event::StepStarted { index, count, name } => {
                json!({"event": "step_started", "index": index, "count": count, "name": name})
            }
            Event::Warning(message) | Event::Alert(message) => json!({"event": "warning", "message": message}),
            Event::Finished => json!({"event": "finished"}),
        };
        write_json(&line);
    }
}
