//! `ties`: trim, elect sign, merge (arXiv 2306.01708).

use super::task_arithmetic::CONTRACT;
use crate::compute::merge::Selection;
use crate::merge::methods::params::{PerModel, Share, params};
use crate::merge::methods::weights::refuse_cancelling_combinations;
use crate::merge::methods::{
    Coefficients, ElementwiseMethod, Map, MethodFault, MethodInfo, Reduction, ReductionResult, Sparsify,
    TensorParameters,
};

/// Keeps the `density` share of each task vector that is largest in magnitude, elects a sign per
/// element from the weighted sum, and averages what agrees with it.
///
/// `trim_scope: tensor` (default, mergekit's rule) keeps exactly `k = max(1, floor(density * N))`
/// elements of each tensor, ties at the threshold by lowest flat index. `trim_scope: model` (the
/// authors' rule) finds one threshold for the whole task vector and keeps every tie.
pub(crate) struct Ties;

params! {
    /// Elements that compete for the `density` share.
    enum TrimScope {
        /// Those of each tensor.
        Tensor = "tensor",
        /// Those of the whole task vector.
        Model = "model",
    }
}

params! {
    /// Parameters of `ties`.
    struct TiesParameters {
        /// Factor of the model's task vector.
        weight: PerModel<f64>,
        /// Share of the task vector's elements that are kept, the largest in magnitude.
        density: PerModel<Share> = 1.0,
        /// Divides each element by the sum of the weights that agree on its sign.
        normalize: bool = true,
        /// Multiplies what is kept so that the sum of magnitudes is as before.
        rescale: bool = false,
        /// Factor of the merged task vector.
        lambda: f64 = 1.0,
        /// Accepted and without effect: in mergekit it only changes the type of a temporary.
        accepted int8_mask: bool = false,
        /// Elements that compete for the share that is kept: those of a tensor, or of the whole model.
        trim_scope: TrimScope = Tensor,
    }
}

impl ElementwiseMethod for Ties {
    type Parameters = TiesParameters;

    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "ties",
            summary: "trimmed task vectors, sign election, disjoint mean",
            reference: "https://arxiv.org/abs/2306.01708",
            contract: CONTRACT,
            copies_lone_tensor: false,
        }
    }

    fn check(&self, parameters: &TiesParameters) -> Result<Option<String>, MethodFault> {
        Ok(if parameters.normalize { refuse_cancelling_combinations(&parameters.weight) } else { None })
    }

    fn reduction(&self, parameters: &TiesParameters, tensor: &TensorParameters) -> Result<Reduction, MethodFault> {
        let elements = tensor.elements();
        let rule = |density: &Share| match (density.get(), parameters.trim_scope) {
            (1.0.., _) => Sparsify::Keep,
            (..=0.0, _) => Sparsify::Drop,
            (density, TrimScope::Model) => Sparsify::LargestOfModel { density },
            // The product in double precision, truncated, as mergekit does.
            (density, TrimScope::Tensor) => Sparsify::Largest { keep: ((density * elements as f64) as u64).max(1) },
        };
        Ok(Reduction::Sparsify { rules: parameters.density.iter().map(rule).collect(), rescale: parameters.rescale })
    }

    fn map(
        &self,
        parameters: TiesParameters,
        tensor: &TensorParameters,
        reduced: &ReductionResult,
    ) -> Result<Map, MethodFault> {
        let TiesParameters { weight: PerModel(weights), normalize, lambda, .. } = parameters;
        elected_mean(tensor, reduced.selections()?, weights, normalize, lambda)
    }
}

/// The family's map with sign election.
pub(super) fn elected_mean(
    tensor: &TensorParameters,
    selections: Vec<Selection>,
    weights: Vec<f64>,
    normalize: bool,
    lambda: f64,
) -> Result<Map, MethodFault> {
    Ok(Map::TaskVectors {
        base: tensor.required_base()?,
        coefficients: Coefficients::Uniform(weights),
        selections,
        consensus: true,
        normalize,
        divisor: None,
        scale: lambda,
    })
}
