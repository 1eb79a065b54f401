//! The watch on runs that learn nothing: their loss is above that of guessing and does not fall.

use serde::{Deserialize, Serialize};

/// Steps of the window whose mean loss is judged.
const WINDOW: usize = 20;
/// First steps, whose mean loss stands for the model as it was.
const START: u32 = 5;
/// Rise over the start, in nats, that ends a run at once.
const RISE: f64 = 1.0;
/// Steps after which a window without a new lowest mean is no fall.
const PATIENCE: u64 = 60;

/// Losses as far as the watch needs them; part of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DivergenceWatch {
    /// Losses of the last steps.
    recent: Vec<f64>,
    /// Sum over the first steps, and how many there were.
    start: f64,
    started: u32,
    /// The lowest mean of a window, and the step that it ended with.
    lowest: Option<(u64, f64)>,
}

impl DivergenceWatch {
    /// Takes a step's loss. Returns the mean of the last steps where it is above `guessing` after the warm-up and either
    /// has risen over the start without falling since, or has had no new lowest value for long.
    ///
    /// A model that begins above guessing, as one with random weights does, is left alone for as long as it gets better.
    pub(crate) fn observe(&mut self, step: u64, loss: f64, guessing: f64, warmup_steps: u64) -> Option<f64> {
        if self.started < START {
            self.start += loss;
            self.started += 1;
        }
        self.recent.push(loss);
        if self.recent.len() < WINDOW {
            return None;
        }
        if self.recent.len() > WINDOW {
            self.recent.remove(0);
        }
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (older, newer) = self.recent.split_at(WINDOW / 2);
        let (recent, falling) = (mean(&self.recent), mean(newer) < mean(older));
        let lowest = match self.lowest {
            Some((at, lowest)) if lowest <= recent => at,
            _ => {
                self.lowest = Some((step, recent));
                step
            }
        };
        let risen = !falling && recent > self.start / f64::from(self.started) + RISE;
        let stuck = step.saturating_sub(lowest.max(warmup_steps)) >= PATIENCE;
        (step > warmup_steps && recent > guessing && (risen || stuck)).then_some(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Philox;

    /// Noise evenly in ±1.
    fn noise(step: u64) -> f64 {
        f64::from(Philox::new(7).block(step)[0]) / f64::from(u32::MAX) * 2.0 - 1.0
    }

    /// The step that a run of these losses is stopped at, guessing being 10.
    fn stopped(steps: u64, loss: impl Fn(u64) -> f64) -> Option<u64> {
        let mut watch = DivergenceWatch::default();
        (1..=steps).find(|&step| watch.observe(step, loss(step), 10.0, 3).is_some())
    }

    #[test]
    fn a_falling_loss_is_not_stopped_however_high() {
        assert_eq!(stopped(400, |step| 40.0 - 0.05 * step as f64), None);
        assert_eq!(stopped(1000, |step| 12.0 - 0.02 * step as f64 + 0.5 * noise(step)), None, "with noise");
        assert_eq!(stopped(1000, |step| 10.2 + 8.0 * (-0.004 * step as f64).exp()), None, "slower and slower");
    }

    #[test]
    fn a_rising_loss_is_stopped_at_once_and_one_that_stands_still_in_time() {
        let diverged = stopped(400, |step| if step < 30 { 3.0 } else { 15.0 + noise(step) });
        assert!(diverged.is_some_and(|step| (30..60).contains(&step)), "{diverged:?}");
        let from_the_start = stopped(400, |step| if step < 4 { 3.0 } else { 15.0 + noise(step) });
        assert!(from_the_start.is_some_and(|step| step < 40), "{from_the_start:?}");
        let still = stopped(400, |step| 11.0 + noise(step));
        assert!(still.is_some_and(|step| (80..400).contains(&step)), "{still:?}");
        assert_eq!(stopped(400, |step| 9.0 + noise(step)), None, "below guessing");
    }
}
