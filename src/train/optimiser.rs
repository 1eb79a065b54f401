//! `AdamW` (Loshchilov and Hutter 2019) as PyTorch computes it, in f32.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, bail};

use super::error::TrainError;
use super::parameter::{Gradients, LearningRateGroup, Parameter};
use crate::parallel::Workers;

/// The two moments of one parameter.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Moments {
    /// Running mean of the gradient.
    pub first: Vec<f32>,
    /// Running mean of its square.
    pub second: Vec<f32>,
}

/// The optimiser's settings and state.
#[derive(Debug, Clone)]
pub(crate) struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay.
    pub weight_decay: f64,
    /// Learning rate of `lora_B` over the others'.
    pub lora_b_ratio: f64,
    /// Steps taken.
    pub steps: u64,
    /// Moments of each parameter, in order.
    pub moments: Vec<Moments>,
}

impl AdamW {
    /// Moments of zero for these parameters.
    pub(crate) fn start(&mut self, parameters: &[Parameter]) {
        let zero = |p: &Parameter| Moments { first: vec![0.0; p.elements()], second: vec![0.0; p.elements()] };
        self.moments = parameters.iter().map(zero).collect();
    }

    /// Moves the parameters. One without a gradient stays where it is, as PyTorch leaves it.
    ///
    /// # Errors
    /// Errors of the tensor library.
    pub(crate) fn step(
        &mut self,
        parameters: &[Parameter],
        gradients: &Gradients,
        learning_rate: f64,
        workers: Workers,
    ) -> Result<(), TrainError> {
        self.steps += 1;
        let steps = self.steps as i32;
        let bias1 = 1.0 - self.beta1.powi(steps);
        let bias2 = 1.0 - self.beta2.powi(steps);
        let (beta1, beta2, epsilon) = (self.beta1, self.beta2, self.epsilon as f32);
        let (weight_decay, ratio) = (self.weight_decay, self.lora_b_ratio);
        workers.for_each_mut(&mut self.moments, |index, moments| {
            let (Some(parameter), Some(gradient)) = (parameters.get(index), gradients.0.get(index)) else {
                return Ok(());
            };
            if gradient.is_empty() {
                return Ok(());
            }
            let rate = if parameter.group == LearningRateGroup::LoraB { learning_rate * ratio } else { learning_rate };
            let update = Update {
                gradient,
                moments: RefCell::new(moments),
                keep: if parameter.decays { (1.0 - rate * weight_decay) as f32 } else { 1.0 },
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                rest1: (1.0 - beta1) as f32,
                rest2: (1.0 - beta2) as f32,
                step: (rate / bias1) as f32,
                root: bias2.sqrt() as f32,
                epsilon,
            };
            Ok(parameter.variable.inplace_op1(&update)?)
        })
    }
}

struct Update<'a> {
    gradient: &'a [f32],
    moments: RefCell<&'a mut Moments>,
    keep: f32,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    step: f32,
    root: f32,
    epsilon: f32,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(values) = storage else { bail!("adamw: parameters are f32") };
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("adamw: parameters are contiguous") };
        let mut moments = self.moments.borrow_mut();
        let Moments { first, second } = &mut **moments;
        if end - start != self.gradient.len() || first.len() != second.len() || first.len() != self.gradient.len() {
            bail!("adamw: {} gradients for {} values", self.gradient.len(), end - start);
        }
        let state = values[start..end].iter_mut().zip(self.gradient).zip(first).zip(second);
        for (((value, gradient), first), second) in state {
            *first = self.beta1 * *first + self.rest1 * gradient;
            *second = self.beta2 * *second + self.rest2 * gradient * gradient;
            let size = second.sqrt() / self.root + self.epsilon;
            *value = *value * self.keep - self.step * (*first / size);
        }
        Ok(())
    }
}
