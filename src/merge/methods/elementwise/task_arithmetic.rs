//! `task_arithmetic`: add weighted task vectors to the base (arXiv 2212.04089).

use crate::compute::merge::Selection;
use crate::merge::methods::weights::{check_mean, guarded_sum};
use crate::merge::methods::{
    BaseRule, Coefficients, INT8_MASK, InputContract, Map, Measured, MergeMethod, MethodFault, ParameterScope,
    ParameterSpec, TensorParameters,
};

/// `b + lambda * sum w_i (x_i - b)`.
pub(crate) struct TaskArithmetic;

const PARAMETERS: &[ParameterSpec] = &[
    ParameterSpec::required("weight", ParameterScope::NonBaseInput),
    ParameterSpec::share("density", ParameterScope::NonBaseInput, 1.0),
    ParameterSpec::switch("normalize", false),
    ParameterSpec::switch("rescale", true),
    ParameterSpec::number("lambda", ParameterScope::Shared, 1.0),
    INT8_MASK,
];

/// Contract that the whole family shares.
pub(super) const CONTRACT: InputContract = InputContract { base: BaseRule::Required, least: 0, most: usize::MAX };

impl MergeMethod for TaskArithmetic {
    fn name(&self) -> &'static str {
        "task_arithmetic"
    }

    fn summary(&self) -> &'static str {
        "base plus weighted task vectors"
    }

    fn reference(&self) -> &'static str {
        "https://arxiv.org/abs/2212.04089"
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        PARAMETERS
    }

    fn contract(&self) -> InputContract {
        CONTRACT
    }

    fn check(&self, tensor: &TensorParameters) -> Result<Option<String>, MethodFault> {
        check_mean(tensor)
    }

    fn map(&self, tensor: &TensorParameters, _measured: &Measured) -> Result<Map, MethodFault> {
        let selections = tensor.tuned().map(|_| Selection::All).collect();
        sum_of_task_vectors(tensor, selections)
    }
}

/// The family's map without sign election.
pub(super) fn sum_of_task_vectors(tensor: &TensorParameters, selections: Vec<Selection>) -> Result<Map, MethodFault> {
    let weights = tensor.tuned_numbers("weight")?;
    let divisor = tensor.switch("normalize")?.then(|| guarded_sum(tensor, &weights));
    Ok(Map::TaskVectors {
        coefficients: Coefficients::Uniform(weights),
        selections,
        consensus: false,
        normalize: false,
        divisor,
        scale: tensor.number("lambda")?,
    })
}
