//! `linear`: the weighted mean of whole models (model soups, arXiv 2203.05482).

use crate::merge::methods::weights::refuse_cancelling;
use crate::merge::methods::{
    BaseRule, Coefficients, InputContract, Map, Measured, MergeMethod, MethodFault, ParameterScope, ParameterSpec,
    TensorParameters,
};

/// `sum w_i x_i`, divided by `sum w_i` unless `normalize: false`.
pub(crate) struct Linear;

const PARAMETERS: &[ParameterSpec] =
    &[ParameterSpec::required("weight", ParameterScope::Input), ParameterSpec::switch("normalize", true)];

impl Linear {
    fn weights(tensor: &TensorParameters) -> Result<Vec<f64>, MethodFault> {
        tensor.numbers(0..tensor.inputs.len(), "weight")
    }
}

impl MergeMethod for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn summary(&self) -> &'static str {
        "weighted mean of the models"
    }

    fn reference(&self) -> &'static str {
        "https://arxiv.org/abs/2203.05482"
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        PARAMETERS
    }

    fn contract(&self) -> InputContract {
        InputContract { base: BaseRule::Ignored, least: 1, most: usize::MAX }
    }

    fn check(&self, tensor: &TensorParameters) -> Result<Option<String>, MethodFault> {
        if !tensor.switch("normalize")? {
            return Ok(None);
        }
        Ok(refuse_cancelling(&Self::weights(tensor)?, false))
    }

    fn map(&self, tensor: &TensorParameters, _measured: &Measured) -> Result<Map, MethodFault> {
        let weights = Self::weights(tensor)?;
        let divisor = tensor.switch("normalize")?.then(|| weights.iter().sum());
        Ok(Map::WeightedSum { coefficients: Coefficients::Uniform(weights), divisor })
    }
}
