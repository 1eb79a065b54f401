//! Progress lines of a training run: step, loss, speed, time left, memory.

use std::time::Instant;

use crate::cli::size::human_bytes;

/// Counts a run's steps and tokens since the process began.
pub(super) struct Meter {
    started: Instant,
    first: u64,
    pub(super) total: u64,
    tokens: u64,
}

impl Meter {
    pub(super) fn new(total: u64, done: u64) -> Self {
        Self { started: Instant::now(), first: done, total, tokens: 0 }
    }

    /// The line after a step.
    pub(super) fn step(&mut self, step: u64, loss: f64, tokens: u64) -> String {
        self.tokens += tokens;
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let left = self.total.saturating_sub(step) as f64 * seconds / (step - self.first.min(step)).max(1) as f64;
        let memory =
            crate::machine::resident_bytes().map_or_else(String::new, |bytes| format!("  {}", human_bytes(bytes)));
        format!("loss {loss:.4}  {:.0} tokens/s  {} left{memory}", self.tokens as f64 / seconds, duration(left))
    }
}

/// The announcement before the first step.
pub(super) fn planned(steps: u64, parameters: u64, bytes: u64, recompute: bool, seconds: f64) -> String {
    let kept = if recompute { "activations computed again" } else { "activations kept" };
    format!(
        "training {parameters} parameters for {steps} steps: about {} and {} ({kept})",
        duration(seconds),
        human_bytes(bytes)
    )
}

fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
