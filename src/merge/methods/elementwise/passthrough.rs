//! `passthrough`: one model's tensors as they are, for stacking layers.

use crate::merge::methods::params::{PerInput, params};
use crate::merge::methods::{
    BaseRule, ElementwiseMethod, InputContract, Map, MethodFault, MethodInfo, ReductionResult, TensorParameters,
};

/// The single input, times `scale` if given.
pub(crate) struct Passthrough;

params! {
    /// Parameters of `passthrough`.
    struct PassthroughParameters {
        /// Factor of the model.
        scale: PerInput<Option<f64>>,
    }
}

impl ElementwiseMethod for Passthrough {
    type Parameters = PassthroughParameters;

    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "passthrough",
            summary: "one model's tensors as they are, for stacking layers",
            reference: "https://github.com/arcee-ai/mergekit",
            contract: InputContract { base: BaseRule::Ignored, least: 1, most: 1 },
            copies_lone_tensor: false,
        }
    }

    fn map(
        &self,
        parameters: PassthroughParameters,
        _tensor: &TensorParameters,
        _reduced: &ReductionResult,
    ) -> Result<Map, MethodFault> {
        match parameters.scale[..] {
            [Some(factor)] => Ok(Map::Scale { factor }),
            [None] => Ok(Map::Copy),
            [..] => Err(MethodFault::Count { what: "factors", expected: 1, found: parameters.scale.len() }),
        }
    }
}
