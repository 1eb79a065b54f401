//! `linear`: the weighted mean of whole models (model soups, arXiv 2203.05482).

use super::{
    BaseRule, Coefficients, InputContract, Map, Measured, MergeMethod, ParameterScope, ParameterSpec, TensorParameters,
};

/// `sum w_i x_i`, divided by `sum w_i` unless `normalize: false`.
pub struct Linear;

const PARAMETERS: &[ParameterSpec] =
    &[ParameterSpec::required("weight", ParameterScope::Input), ParameterSpec::switch("normalize", true)];

impl Linear {
    fn weights(tensor: &TensorParameters) -> Vec<f64> {
        (0..tensor.inputs.len()).map(|i| tensor.input_number(i, "weight").unwrap_or(0.0)).collect()
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

    fn check(&self, tensor: &TensorParameters) -> Result<(), String> {
        if tensor.switch("normalize") && Self::weights(tensor).iter().sum::<f64>() == 0.0 {
            return Err("the weights sum to 0, which `normalize: true` would divide by".to_owned());
        }
        Ok(())
    }

    fn map(&self, tensor: &TensorParameters, _measured: &Measured) -> Map {
        let weights = Self::weights(tensor);
        let divisor = tensor.switch("normalize").then(|| weights.iter().sum());
        Map::WeightedSum { coefficients: Coefficients::Uniform(weights), divisor }
    }
}
