//! `passthrough`: one model's tensors as they are, for stacking layers.

use crate::merge::methods::{
    BaseRule, InputContract, Map, Measured, MergeMethod, MethodFault, ParameterDefault, ParameterScope, ParameterSpec,
    TensorParameters,
};
use crate::recipe::setting::ParameterKind;

/// The single input, times `scale` if given.
pub(crate) struct Passthrough;

const PARAMETERS: &[ParameterSpec] = &[ParameterSpec {
    name: "scale",
    kind: ParameterKind::Number,
    scope: ParameterScope::Input,
    default: ParameterDefault::Absent,
}];

impl MergeMethod for Passthrough {
    fn name(&self) -> &'static str {
        "passthrough"
    }

    fn summary(&self) -> &'static str {
        "one model's tensors as they are, for stacking layers"
    }

    fn reference(&self) -> &'static str {
        "https://github.com/arcee-ai/mergekit"
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        PARAMETERS
    }

    fn contract(&self) -> InputContract {
        InputContract { base: BaseRule::Ignored, least: 1, most: 1 }
    }

    fn map(&self, tensor: &TensorParameters, _measured: &Measured) -> Result<Map, MethodFault> {
        Ok(match tensor.input_number(0, "scale")? {
            Some(factor) => Map::Scale { factor },
            None => Map::Copy,
        })
    }
}
