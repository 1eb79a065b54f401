//! The learning rate of every optimiser step, as transformers' schedules compute it.
//!
//! The factor on the peak rate rises in a line from 0 over the warm-up and then follows the scheduler
//! (`get_{cosine,linear,constant}_schedule_with_warmup`). Steps are counted from 0, so that a run with
//! a warm-up takes its first step with a rate of 0.

use super::recipe::{Scheduler, TrainRecipe, Warmup};

/// The learning rate schedule of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    /// Peak learning rate.
    pub peak: f64,
    /// Decay after the warm-up.
    pub scheduler: Scheduler,
    /// Optimiser steps of the rise.
    pub warmup_steps: u64,
    /// Optimiser steps of the run.
    pub total_steps: u64,
}

impl Warmup {
    /// Optimiser steps of the rise in a run of `total`; a share is rounded up.
    #[must_use]
    pub fn steps(self, total: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Ratio(ratio) => (total as f64 * ratio).ceil() as u64,
        }
    }
}

impl Schedule {
    /// The recipe's schedule over a run of `total_steps`.
    #[must_use]
    pub(crate) fn new(recipe: &TrainRecipe, total_steps: u64) -> Self {
        Self {
            peak: recipe.learning_rate,
            scheduler: recipe.lr_scheduler,
            warmup_steps: recipe.warmup.steps(total_steps),
            total_steps,
        }
    }

    /// The learning rate of step `step`, from 0.
    #[must_use]
    pub(crate) fn learning_rate(&self, step: u64) -> f64 {
        self.peak * self.factor(step)
    }

    /// Factor of the peak rate at step `step`, from 0.
    #[must_use]
    pub(crate) fn factor(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps as f64;
        }
        let decay = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        match self.scheduler {
            Scheduler::Constant => 1.0,
            Scheduler::Linear => self.total_steps.saturating_sub(step) as f64 / decay,
            Scheduler::Cosine => {
                let progress = (step - self.warmup_steps) as f64 / decay;
                (0.5 * (1.0 + cos_pi(progress))).max(0.0)
            }
        }
    }
}

/// cos(πx) within 2^-52 for x of 0 or more, of our own since libraries differ in the last bit from CPU to CPU, and with
/// it the trained weights. The argument is brought into a quarter turn, then the series of sine or cosine is summed.
fn cos_pi(x: f64) -> f64 {
    use std::f64::consts::PI;
    // The cosine is even and repeats after 2.
    let turn = (x - 2.0 * (x / 2.0).round()).abs();
    let (turn, sign) = if turn > 0.5 { (1.0 - turn, -1.0) } else { (turn, 1.0) };
    // Σ (-y²)^n / (first + 1)(first + 2)...(first + 2n), from the smallest term on.
    let series = |y: f64, first: u32| {
        (1..=9).rev().fold(1.0, |sum, n| 1.0 - sum * y * y / f64::from((first + 2 * n - 1) * (first + 2 * n)))
    };
    if turn <= 0.25 {
        sign * series(PI * turn, 0)
    } else {
        let y = PI * (0.5 - turn);
        sign * y * series(y, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of transformers 5.23.0, `optimization.py`: step, cosine, linear and constant factor with
    /// a warm-up of 10 of 100 steps.
    const FACTORS: &[(u64, f64, f64, f64)] = &[
        (0, 0.0, 0.0, 0.0),
        (1, 0.1, 0.1, 0.1),
        (3, 0.3, 0.3, 0.3),
        (9, 0.9, 0.9, 0.9),
        (10, 1.0, 1.0, 1.0),
        (11, 0.999_695_413_509_547_9, 0.988_888_888_888_888_9, 1.0),
        (37, 0.793_892_626_146_236_6, 0.7, 1.0),
        (55, 0.5, 0.5, 1.0),
        (99, 0.000_304_586_490_452_118_94, 0.011_111_111_111_111_112, 1.0),
        (100, 0.0, 0.0, 1.0),
        (120, 0.116_977_778_440_511, 0.0, 1.0),
    ];

    #[test]
    fn factors_are_those_of_transformers() {
        let schedule = |scheduler| Schedule { peak: 1.0, scheduler, warmup_steps: 10, total_steps: 100 };
        for &(step, cosine, linear, constant) in FACTORS {
            for (scheduler, expected) in
                [(Scheduler::Cosine, cosine), (Scheduler::Linear, linear), (Scheduler::Constant, constant)]
            {
                let found = schedule(scheduler).factor(step);
                assert!((found - expected).abs() < 1e-15, "{scheduler:?} {step}: {found} {expected}");
            }
        }
        let short = Schedule { warmup_steps: 0, total_steps: 7, ..schedule(Scheduler::Cosine) };
        assert!((short.factor(2) - 0.811_744_900_929_366_8).abs() < 1e-15);
        assert_eq!(Schedule { peak: 2e-4, ..short }.learning_rate(0), 2e-4);
        let all = Schedule { warmup_steps: 9, total_steps: 5, ..short };
        assert!((0..9).all(|step| all.factor(step) == step as f64 / 9.0), "a warm-up beyond the end");
    }

    /// cos(k π / 12) by half-angle formulas.
    #[test]
    fn the_cosine_is_right_to_the_last_place() {
        let (two, three, six) = (2.0_f64.sqrt(), 3.0_f64.sqrt(), 6.0_f64.sqrt());
        let quarter = [1.0, (six + two) / 4.0, three / 2.0, two / 2.0, 0.5, (six - two) / 4.0, 0.0];
        for k in 0..=36 {
            let folded = if k % 24 > 12 { 24 - k % 24 } else { k % 24 };
            let expected = if folded <= 6 { quarter[folded] } else { -quarter[12 - folded] };
            let x = k as f64 / 12.0;
            let found = cos_pi(x);
            // What rounding of the argument and of the result may do.
            let bound = 3e-16 + std::f64::consts::PI * x * f64::EPSILON / 2.0;
            assert!((found - expected).abs() < bound, "{k}: {found} {expected}");
        }
        assert_eq!((cos_pi(0.0), cos_pi(0.5), cos_pi(1.0)), (1.0, 0.0, -1.0));
    }

    /// Python's `math.ceil(total * ratio)` for the same pairs.
    #[test]
    fn a_share_of_warm_up_is_rounded_up() {
        for (total, ratio, steps) in
            [(1000, 0.03, 30), (33, 0.03, 1), (7, 0.1, 1), (100, 0.07, 8), (0, 0.1, 0), (300, 0.01, 3)]
        {
            assert_eq!(Warmup::Ratio(ratio).steps(total), steps, "{total} {ratio}");
        }
        assert_eq!(Warmup::Steps(12).steps(5), 12);
    }
}
