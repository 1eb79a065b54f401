//! `ties`: trim, elect sign, merge (arXiv 2306.01708).

use super::task_arithmetic::CONTRACT;
use crate::compute::merge::Selection;
use crate::merge::methods::weights::check_elected_mean;
use crate::merge::methods::{
    Coefficients, INT8_MASK, InputContract, Map, Measured, MergeMethod, MethodFault, ParameterDefault, ParameterScope,
    ParameterSpec, Sparsify, Statistics, TensorParameters,
};
use crate::recipe::setting::{ParameterKind, Value};

/// Keeps the `density` share of each task vector that is largest in magnitude, elects a sign per
/// element from the weighted sum, and averages what agrees with it.
///
/// `trim_scope: tensor` (default, mergekit's rule) keeps exactly `k = max(1, floor(density * N))`
/// elements of each tensor, ties at the threshold by lowest flat index. `trim_scope: model` (the
/// authors' rule) finds one threshold for the whole task vector and keeps every tie.
pub(crate) struct Ties;

const PARAMETERS: &[ParameterSpec] = &[
    ParameterSpec::required("weight", ParameterScope::NonBaseInput),
    ParameterSpec::share("density", ParameterScope::NonBaseInput, 1.0),
    ParameterSpec::switch("normalize", true),
    ParameterSpec::switch("rescale", false),
    ParameterSpec::number("lambda", ParameterScope::Shared, 1.0),
    INT8_MASK,
    ParameterSpec {
        name: "trim_scope",
        kind: ParameterKind::Choice(&["tensor", "model"]),
        scope: ParameterScope::Shared,
        default: ParameterDefault::Value(Value::Word("tensor")),
    },
];

impl MergeMethod for Ties {
    fn name(&self) -> &'static str {
        "ties"
    }

    fn summary(&self) -> &'static str {
        "trimmed task vectors, sign election, disjoint mean"
    }

    fn reference(&self) -> &'static str {
        "https://arxiv.org/abs/2306.01708"
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        PARAMETERS
    }

    fn contract(&self) -> InputContract {
        CONTRACT
    }

    fn check(&self, tensor: &TensorParameters) -> Result<Option<String>, MethodFault> {
        check_elected_mean(tensor)
    }

    fn statistics(&self, tensor: &TensorParameters) -> Result<Statistics, MethodFault> {
        let whole_model = tensor.word("trim_scope")? == "model";
        let elements = tensor.elements();
        let rules = tensor.tuned_numbers("density")?.into_iter().map(|density| {
            if density >= 1.0 {
                Sparsify::Keep
            } else if density <= 0.0 {
                Sparsify::Drop
            } else if whole_model {
                Sparsify::LargestOfModel { density }
            } else {
                // The product in double precision, truncated, as mergekit does.
                Sparsify::Largest { keep: ((density * elements as f64) as u64).max(1) }
            }
        });
        Ok(Statistics::Sparsify { rules: rules.collect(), rescale: tensor.switch("rescale")? })
    }

    fn map(&self, tensor: &TensorParameters, measured: &Measured) -> Result<Map, MethodFault> {
        elected_mean(tensor, measured.selections()?)
    }
}

/// The family's map with sign election.
pub(super) fn elected_mean(tensor: &TensorParameters, selections: Vec<Selection>) -> Result<Map, MethodFault> {
    Ok(Map::TaskVectors {
        coefficients: Coefficients::Uniform(tensor.tuned_numbers("weight")?),
        selections,
        consensus: true,
        normalize: tensor.switch("normalize")?,
        divisor: None,
        scale: tensor.number("lambda")?,
    })
}
