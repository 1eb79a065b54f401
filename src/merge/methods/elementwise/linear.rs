//! `linear`: the weighted mean of whole models (model soups, arXiv 2203.05482).

use crate::merge::methods::params::{PerInput, params};
use crate::merge::methods::weights::refuse_cancelling;
use crate::merge::methods::{
    BaseRule, Coefficients, ElementwiseMethod, InputContract, Map, MethodFault, MethodInfo, ReductionResult,
    TensorParameters,
};

/// `sum w_i x_i`, divided by `sum w_i` unless `normalize: false`.
pub(crate) struct Linear;

params! {
    /// Parameters of `linear`.
    struct LinearParameters {
        /// Factor of the model.
        weight: PerInput<f64>,
        /// Divides by the sum of the weights.
        normalize: bool = true,
    }
}

impl ElementwiseMethod for Linear {
    type Parameters = LinearParameters;

    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "linear",
            summary: "weighted mean of the models",
            reference: "https://arxiv.org/abs/2203.05482",
            contract: InputContract { base: BaseRule::Ignored, least: 1, most: usize::MAX },
            copies_lone_tensor: false,
        }
    }

    fn check(&self, parameters: &LinearParameters) -> Result<Option<String>, MethodFault> {
        Ok(if parameters.normalize { refuse_cancelling(&parameters.weight, false) } else { None })
    }

    fn map(
        &self,
        parameters: LinearParameters,
        _tensor: &TensorParameters,
        _reduced: &ReductionResult,
    ) -> Result<Map, MethodFault> {
        let PerInput(weights) = parameters.weight;
        let divisor = parameters.normalize.then(|| weights.iter().sum());
        Ok(Map::WeightedSum { coefficients: Coefficients::Uniform(weights), divisor })
    }
}
