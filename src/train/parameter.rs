//! Trainable parameters: named variables, and the gradients of a step.

use candle_core::{Device, Storage, Tensor, Var};

use super::error::TrainError;

/// Learning rates of parameters: the plain one, or LoRA+'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LearningRateGroup {
    /// Trained at the recipe's learning rate.
    Plain,
    /// `lora_B`, which LoRA+ (Hayou et al. 2024) trains faster.
    LoraB,
}

/// One variable.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// As the adapter or the checkpoint names it.
    pub name: String,
    /// The values, shared with the projection that uses them.
    pub variable: Var,
    pub group: LearningRateGroup,
    /// Whether weight decay applies: not to biases and norms.
    pub decays: bool,
}

impl Parameter {
    /// A variable of these values.
    ///
    /// # Errors
    /// When the shape does not fit them.
    pub(crate) fn new(
        name: String,
        shape: &[usize],
        values: Vec<f32>,
        group: LearningRateGroup,
    ) -> Result<Self, TrainError> {
        let variable = Var::from_vec(values, shape, &Device::Cpu)?;
        let decays = name.rsplit('.').next() != Some("bias") && !name.contains("norm");
        Ok(Self { name, variable, group, decays })
    }

    /// Number of elements.
    #[must_use]
    pub(crate) fn elements(&self) -> usize {
        self.variable.elem_count()
    }

    /// The values.
    ///
    /// # Errors
    /// Errors of the tensor library.
    pub(crate) fn values(&self) -> Result<Vec<f32>, TrainError> {
        Ok(self.variable.flatten_all()?.to_vec1()?)
    }

    /// Reads the values where they are, without a copy.
    ///
    /// # Errors
    /// Errors of the tensor library.
    pub(crate) fn with_values<T>(&self, read: impl FnOnce(&[f32]) -> T) -> Result<T, TrainError> {
        let (storage, layout) = self.variable.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(values), Some((start, end))) => Ok(read(&values.as_slice::<f32>()?[start..end])),
            _ => Ok(read(&self.values()?)),
        }
    }

    /// Replaces the values.
    ///
    /// # Errors
    /// When there is not one for each element.
    pub(crate) fn set(&self, values: Vec<f32>) -> Result<(), TrainError> {
        let values = Tensor::from_vec(values, self.variable.shape(), &Device::Cpu)?;
        Ok(self.variable.set(&values)?)
    }
}

/// Gradients of all parameters, in their order; empty where none has been added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gradients(pub Vec<Vec<f32>>);

impl Gradients {
    /// Empty gradients of so many parameters.
    #[must_use]
    pub(crate) fn new(parameters: usize) -> Self {
        Self(vec![Vec::new(); parameters])
    }

    /// Adds the gradient of one parameter.
    pub(crate) fn add(&mut self, parameter: usize, gradient: &[f32]) {
        if let Some(sum) = self.0.get_mut(parameter) {
            if sum.is_empty() {
                sum.extend_from_slice(gradient);
            } else {
                sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
            }
        }
    }

    /// Adds all of another's and empties it, its memory kept.
    pub(crate) fn take_from(&mut self, other: &mut Self) {
        for (parameter, gradient) in other.0.iter_mut().enumerate() {
            if !gradient.is_empty() {
                self.add(parameter, gradient);
                gradient.clear();
            }
        }
    }

    /// The root of the sum of squares.
    #[must_use]
    pub(crate) fn norm(&self) -> f64 {
        let squares = |gradient: &Vec<f32>| gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
        self.0.iter().map(squares).sum::<f64>().sqrt()
    }

    /// Multiplies all.
    pub(crate) fn scale(&mut self, factor: f32) {
        self.0.iter_mut().flatten().for_each(|g| *g *= factor);
    }
}
