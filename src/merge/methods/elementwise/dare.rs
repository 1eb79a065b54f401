//! `dare_linear` and `dare_ties`: drop at random and rescale (arXiv 2311.03099).

use super::task_arithmetic::{CONTRACT, sum_of_task_vectors};
use super::ties::elected_mean;
use crate::merge::methods::weights::{check_elected_mean, check_mean};
use crate::merge::methods::{
    INT8_MASK, InputContract, Map, Measured, MergeMethod, MethodFault, ParameterScope, ParameterSpec, Sparsify,
    Statistics, TensorParameters,
};

/// Keeps each element of a task vector with probability `density`, rescales what is left so that
/// the sum of magnitudes is as before, and adds the task vectors, with or without sign election.
pub(crate) struct Dare {
    name: &'static str,
    summary: &'static str,
    consensus: bool,
}

/// Without sign election.
pub(crate) const DARE_LINEAR: Dare =
    Dare { name: "dare_linear", summary: "randomly thinned, rescaled task vectors", consensus: false };
/// With sign election.
pub(crate) const DARE_TIES: Dare =
    Dare { name: "dare_ties", summary: "randomly thinned, rescaled task vectors with sign election", consensus: true };

const PARAMETERS: &[ParameterSpec] = &[
    ParameterSpec::required("weight", ParameterScope::NonBaseInput),
    ParameterSpec::share("density", ParameterScope::NonBaseInput, 1.0),
    ParameterSpec::switch("normalize", false),
    ParameterSpec::switch("rescale", true),
    ParameterSpec::number("lambda", ParameterScope::Shared, 1.0),
    INT8_MASK,
];

impl MergeMethod for Dare {
    fn name(&self) -> &'static str {
        self.name
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn reference(&self) -> &'static str {
        "https://arxiv.org/abs/2311.03099"
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        PARAMETERS
    }

    fn contract(&self) -> InputContract {
        CONTRACT
    }

    fn check(&self, tensor: &TensorParameters) -> Result<Option<String>, MethodFault> {
        if self.consensus { check_elected_mean(tensor) } else { check_mean(tensor) }
    }

    fn statistics(&self, tensor: &TensorParameters) -> Result<Statistics, MethodFault> {
        let rules = tensor.tuned().zip(tensor.tuned_numbers("density")?).map(|(input, density)| {
            if density >= 1.0 { Sparsify::Keep } else { Sparsify::Random { density, key: tensor.stream_keys[input] } }
        });
        Ok(Statistics::Sparsify { rules: rules.collect(), rescale: tensor.switch("rescale")? })
    }

    fn map(&self, tensor: &TensorParameters, measured: &Measured) -> Result<Map, MethodFault> {
        let selections = measured.selections()?;
        if self.consensus { elected_mean(tensor, selections) } else { sum_of_task_vectors(tensor, selections) }
    }
}
