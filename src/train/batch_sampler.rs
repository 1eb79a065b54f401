//! Batch sampler: the rows of each step.

use super::data::{PackedRow, TrainingData};
use super::recipe::TrainRecipe;

/// Steps of a run, epoch by epoch.
#[derive(Debug)]
pub(crate) struct BatchSampler<'a> {
    data: &'a TrainingData,
    recipe: &'a TrainRecipe,
    rows_per_step: usize,
    /// Steps of each epoch that the run reaches.
    epochs: Vec<u64>,
    /// Optimiser steps of the run.
    pub total: u64,
    /// Epoch that was sampled last, and its rows.
    sampled: Option<(usize, Vec<PackedRow>)>,
}

impl<'a> BatchSampler<'a> {
    /// Counts the steps.
    #[must_use]
    pub(crate) fn new(recipe: &'a TrainRecipe, data: &'a TrainingData) -> Self {
        let rows_per_step = (recipe.micro_batch_size * recipe.gradient_accumulation_steps).max(1);
        let most = recipe.max_steps.unwrap_or(u64::MAX);
        let (mut epochs, mut total) = (Vec::new(), 0_u64);
        while total < most && (epochs.len() as f64) < recipe.num_epochs {
            let rows = data.rows(recipe, epochs.len() as u64).len();
            let steps = rows.div_ceil(rows_per_step) as u64;
            if steps == 0 {
                break;
            }
            // The last epoch may be a part of one.
            let share = (recipe.num_epochs - epochs.len() as f64).min(1.0);
            epochs.push(steps);
            total += (share * steps as f64).ceil() as u64;
        }
        Self { data, recipe, rows_per_step, epochs, total: total.min(most), sampled: None }
    }

    /// Steps of the first epoch.
    #[must_use]
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        self.epochs.first().copied().unwrap_or(0)
    }

    /// The epochs that so many steps are.
    #[must_use]
    pub(crate) fn epochs(&self, steps: u64) -> f64 {
        let mut left = steps;
        for (epoch, length) in self.epochs.iter().enumerate() {
            if left <= *length {
                return epoch as f64 + left as f64 / *length as f64;
            }
            left -= length;
        }
        self.epochs.len() as f64
    }

    /// Numbers of the examples of a step (counted from 0), in order.
    pub(crate) fn step(&mut self, step: u64) -> Vec<usize> {
        let (mut epoch, mut left) = (0, step);
        while let Some(length) = self.epochs.get(epoch).filter(|length| left >= **length) {
            left -= length;
            epoch += 1;
        }
        if self.sampled.as_ref().is_none_or(|(sampled, _)| *sampled != epoch) {
            self.sampled = Some((epoch, self.data.rows(self.recipe, epoch as u64)));
        }
        let rows = self.sampled.as_ref().map_or(&[][..], |(_, rows)| rows.as_slice());
        let first = left as usize * self.rows_per_step;
        rows.iter().skip(first).take(self.rows_per_step).flatten().copied().collect()
    }
}
