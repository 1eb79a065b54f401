//! `task_arithmetic`: add weighted task vectors to the base (arXiv 2212.04089).

use crate::compute::merge::Selection;
use crate::merge::methods::params::{PerModel, Share, params};
use crate::merge::methods::weights::{guarded_sum, refuse_cancelling};
use crate::merge::methods::{
    BaseRule, Coefficients, ElementwiseMethod, InputContract, Map, MethodFault, MethodInfo, ReductionResult,
    TensorParameters,
};

/// `b + lambda * sum w_i (x_i - b)`.
pub(crate) struct TaskArithmetic;

params! {
    /// Parameters of `task_arithmetic`.
    struct TaskArithmeticParameters {
        /// Factor of the model's task vector.
        weight: PerModel<f64>,
        /// Accepted and without effect, as in mergekit: this method trims nothing.
        accepted density: PerModel<Share> = 1.0,
        /// Divides by the sum of the weights.
        normalize: bool = false,
        /// Accepted and without effect, as in mergekit: this method trims nothing.
        accepted rescale: bool = true,
        /// Factor of the merged task vector.
        lambda: f64 = 1.0,
        /// Accepted and without effect: in mergekit it only changes the type of a temporary.
        accepted int8_mask: bool = false,
    }
}

/// Inputs of the whole family.
pub(super) const CONTRACT: InputContract = InputContract { base: BaseRule::Required, least: 0, most: usize::MAX };

impl ElementwiseMethod for TaskArithmetic {
    type Parameters = TaskArithmeticParameters;

    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "task_arithmetic",
            summary: "base plus weighted task vectors",
            reference: "https://arxiv.org/abs/2212.04089",
            contract: CONTRACT,
            copies_lone_tensor: false,
        }
    }

    fn check(&self, parameters: &TaskArithmeticParameters) -> Result<Option<String>, MethodFault> {
        Ok(if parameters.normalize { refuse_cancelling(&parameters.weight, true) } else { None })
    }

    fn map(
        &self,
        TaskArithmeticParameters { weight: PerModel(weights), normalize, lambda }: TaskArithmeticParameters,
        tensor: &TensorParameters,
        _reduced: &ReductionResult,
    ) -> Result<Map, MethodFault> {
        let selections = tensor.tuned().map(|_| Selection::All).collect();
        sum_of_task_vectors(tensor, selections, weights, normalize, lambda)
    }
}

/// The family's map without sign election.
pub(super) fn sum_of_task_vectors(
    tensor: &TensorParameters,
    selections: Vec<Selection>,
    weights: Vec<f64>,
    normalize: bool,
    lambda: f64,
) -> Result<Map, MethodFault> {
    let divisor = normalize.then(|| guarded_sum(tensor, &weights));
    Ok(Map::TaskVectors {
        base: tensor.required_base()?,
        coefficients: Coefficients::Uniform(weights),
        selections,
        consensus: false,
        normalize: false,
        divisor,
        scale: lambda,
    })
}
