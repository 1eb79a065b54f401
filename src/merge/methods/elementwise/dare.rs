//! `dare_linear` and `dare_ties`: drop at random and rescale (arXiv 2311.03099).

use super::task_arithmetic::{CONTRACT, sum_of_task_vectors};
use super::ties::elected_mean;
use crate::merge::methods::params::{PerModel, Share, params};
use crate::merge::methods::weights::{refuse_cancelling, refuse_cancelling_combinations};
use crate::merge::methods::{
    ElementwiseMethod, Map, MethodFault, MethodInfo, Reduction, ReductionResult, Sparsify, TensorParameters,
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

params! {
    /// Parameters of `dare_linear` and `dare_ties`.
    struct DareParameters {
        /// Factor of the model's task vector.
        weight: PerModel<f64>,
        /// Probability that an element of the task vector is kept.
        density: PerModel<Share> = 1.0,
        /// Divides by the sum of the weights; with sign election, of those that agree on the element's sign.
        normalize: bool = false,
        /// Multiplies what is kept so that the sum of magnitudes is as before.
        rescale: bool = true,
        /// Factor of the merged task vector.
        lambda: f64 = 1.0,
        /// Accepted and without effect: in mergekit it only changes the type of a temporary.
        accepted int8_mask: bool = false,
    }
}

impl ElementwiseMethod for Dare {
    type Parameters = DareParameters;

    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: self.name,
            summary: self.summary,
            reference: "https://arxiv.org/abs/2311.03099",
            contract: CONTRACT,
            copies_lone_tensor: false,
        }
    }

    fn check(&self, parameters: &DareParameters) -> Result<Option<String>, MethodFault> {
        Ok(match (parameters.normalize, self.consensus) {
            (false, _) => None,
            (true, true) => refuse_cancelling_combinations(&parameters.weight),
            (true, false) => refuse_cancelling(&parameters.weight, true),
        })
    }

    fn reduction(&self, parameters: &DareParameters, tensor: &TensorParameters) -> Result<Reduction, MethodFault> {
        let rules = tensor.tuned().zip(&*parameters.density).map(|(input, density)| match density.get() {
            1.0.. => Sparsify::Keep,
            density => Sparsify::Random { density, key: tensor.inputs[input].stream_key },
        });
        Ok(Reduction::Sparsify { rules: rules.collect(), rescale: parameters.rescale })
    }

    fn map(
        &self,
        parameters: DareParameters,
        tensor: &TensorParameters,
        reduced: &ReductionResult,
    ) -> Result<Map, MethodFault> {
        let DareParameters { weight: PerModel(weights), normalize, lambda, .. } = parameters;
        let map = if self.consensus { elected_mean } else { sum_of_task_vectors };
        map(tensor, reduced.selections()?, weights, normalize, lambda)
    }
}
