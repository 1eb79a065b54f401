//! One tensor as a method sees it before any data are read: shape, working type, inputs and parameter values.

use crate::compute::merge::ComputeType;
use crate::recipe::setting::Value;

use super::MethodFault;

/// Parameter values set for a tensor, in the order of the specs.
pub(crate) type Values = Vec<(&'static str, Value)>;

/// The part that an input has in a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The model that task vectors are formed against.
    Base,
    /// A model to be merged.
    Tuned,
}

/// One input of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MethodInput {
    /// Its part in the merge.
    pub role: Role,
    /// Its parameters; those of a base model may be empty.
    pub values: Values,
    /// Key of its random stream.
    pub stream_key: u64,
}

/// Position of a base model that is there: only [`TensorParameters::base`] makes one, so that a map or reduction that
/// subtracts a base cannot be written without looking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BaseInput(usize);

impl BaseInput {
    /// Index among the inputs.
    #[must_use]
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// All a method knows of a tensor before its data are read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorParameters {
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Shared parameters.
    pub shared: Values,
    /// The inputs in recipe order.
    pub inputs: Vec<MethodInput>,
    /// Working type.
    pub precision: ComputeType,
}

impl TensorParameters {
    /// The base model, when one is among the inputs.
    #[must_use]
    pub(crate) fn base(&self) -> Option<BaseInput> {
        self.inputs.iter().position(|input| input.role == Role::Base).map(BaseInput)
    }

    /// The base model of a method that cannot do without.
    ///
    /// # Errors
    /// [`MethodFault::NoBase`].
    pub(crate) fn required_base(&self) -> Result<BaseInput, MethodFault> {
        self.base().ok_or(MethodFault::NoBase)
    }

    /// Indices of the inputs that are not the base, in order.
    pub(crate) fn tuned(&self) -> impl Iterator<Item = usize> + '_ {
        self.inputs.iter().enumerate().filter(|(_, input)| input.role == Role::Tuned).map(|(index, _)| index)
    }

    /// Number of elements.
    #[must_use]
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}
