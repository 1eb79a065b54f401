//! The contract between a merge method and the planner and executor.

use super::{Map, MethodFault, MethodParameters, ParameterSpec, Reduction, ReductionResult, TensorParameters};

/// A method's rule about the base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BaseRule {
    /// Must be among the inputs.
    Required,
    /// Used when given.
    Optional,
    /// An input like any other.
    Ignored,
}

/// Number of inputs that a method takes. With [`BaseRule::Ignored`] all inputs count, otherwise those
/// that are not the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InputContract {
    /// The base model's part.
    pub base: BaseRule,
    /// Fewest inputs.
    pub least: usize,
    /// Most inputs.
    pub most: usize,
}

/// Facts about a method that need no tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MethodInfo {
    /// mergekit's name.
    pub name: &'static str,
    /// One line for tables.
    pub summary: &'static str,
    /// Address of the paper or project, for model cards.
    pub reference: &'static str,
    /// Inputs that it takes.
    pub contract: InputContract,
    /// Whether a tensor that only one input has is copied instead of being an error.
    pub copies_lone_tensor: bool,
}

/// A merge method, as the planner and the executor call it.
pub(crate) trait MergeMethod: Sync {
    /// Facts that need no tensor.
    fn info(&self) -> MethodInfo;

    /// Its parameters.
    fn parameters(&self) -> &'static [ParameterSpec];

    /// Refuses values that have no meaning together, before anything is written: `Some` says why. Ranges of single
    /// values are a matter of their kind.
    ///
    /// # Errors
    /// A [`MethodFault`], which is a defect of the method.
    fn check(&self, tensor: &TensorParameters) -> Result<Option<String>, MethodFault>;

    /// The reduction that must be done before the map.
    ///
    /// # Errors
    /// A [`MethodFault`], which is a defect of the method.
    fn reduction(&self, tensor: &TensorParameters) -> Result<Reduction, MethodFault>;

    /// The map, given the result of [`MergeMethod::reduction`].
    ///
    /// # Errors
    /// A [`MethodFault`], which is a defect of the method.
    fn map(&self, tensor: &TensorParameters, reduced: &ReductionResult) -> Result<Map, MethodFault>;

    /// mergekit's name.
    fn name(&self) -> &'static str {
        self.info().name
    }

    /// Inputs that it takes.
    fn contract(&self) -> InputContract {
        self.info().contract
    }
}

impl std::fmt::Debug for dyn MergeMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A method of reductions over a tensor and one map of its elements, with its parameters as fields.
pub(crate) trait ElementwiseMethod: Sync {
    /// Parameters, declared with `params!`.
    type Parameters: MethodParameters;

    /// See [`MergeMethod::info`].
    fn info(&self) -> MethodInfo;

    /// See [`MergeMethod::check`].
    ///
    /// # Errors
    /// A [`MethodFault`], which is a defect of the method.
    fn check(&self, _parameters: &Self::Parameters) -> Result<Option<String>, MethodFault> {
        Ok(None)
    }

    /// See [`MergeMethod::reduction`].
    ///
    /// # Errors
    /// A [`MethodFault`], which is a defect of the method.
    fn reduction(&self, _: &Self::Parameters, _: &TensorParameters) -> Result<Reduction, MethodFault> {
        Ok(Reduction::None)
    }

    /// See [`MergeMethod::map`].
    ///
    /// # Errors
    /// A [`MethodFault`], which is a defect of the method.
    fn map(
        &self,
        parameters: Self::Parameters,
        tensor: &TensorParameters,
        reduced: &ReductionResult,
    ) -> Result<Map, MethodFault>;
}

impl<M: ElementwiseMethod> MergeMethod for M {
    fn info(&self) -> MethodInfo {
        ElementwiseMethod::info(self)
    }

    fn parameters(&self) -> &'static [ParameterSpec] {
        M::Parameters::SPECS
    }

    fn check(&self, tensor: &TensorParameters) -> Result<Option<String>, MethodFault> {
        ElementwiseMethod::check(self, &M::Parameters::read(tensor)?)
    }

    fn reduction(&self, tensor: &TensorParameters) -> Result<Reduction, MethodFault> {
        ElementwiseMethod::reduction(self, &M::Parameters::read(tensor)?, tensor)
    }

    fn map(&self, tensor: &TensorParameters, reduced: &ReductionResult) -> Result<Map, MethodFault> {
        ElementwiseMethod::map(self, M::Parameters::read(tensor)?, tensor, reduced)
    }
}
