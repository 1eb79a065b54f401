//! Merge methods.
//!
//! A method is data: which parameters it has ([`ParameterSpec`]), which inputs it takes
//! ([`InputContract`]), which [`Statistics`] it needs of a tensor, and which [`Map`] these lead to.
//! The executor and the backends do the rest. Adding one is a file here and a line in
//! [`REGISTRY`].

use crate::compute::merge::ComputeType;
use crate::recipe::setting::{ParameterKind, Value};

use self::elementwise::{dare, linear, nuslerp, passthrough, slerp, task_arithmetic, ties};
pub(crate) use crate::merge::execute::reduction::{Axis, Measured, Products, Sparsify, Statistics};

pub(crate) use fault::{MethodError, MethodFault};

mod elementwise;
mod fault;
mod weights;

/// Every method, in the order of the README's table.
pub(crate) const REGISTRY: &[&dyn MergeMethod] = &[
    &linear::Linear,
    &slerp::Slerp,
    &nuslerp::NuSlerp,
    &task_arithmetic::TaskArithmetic,
    &ties::Ties,
    &dare::DARE_LINEAR,
    &dare::DARE_TIES,
    &passthrough::Passthrough,
];

/// The method of a name.
#[must_use]
pub(crate) fn find(name: &str) -> Option<&'static dyn MergeMethod> {
    REGISTRY.iter().find(|method| method.name() == name).copied()
}

/// Parameters of methods that mergekit has and billon does not have yet: known, so that recipes
/// that carry them get a warning and not an error.
pub(crate) const FOREIGN_PARAMETERS: &[&str] = &[
    "gamma",
    "epsilon",
    "select_topk",
    "filter_wise",
    "max_iter",
    "tol",
    "eps",
    "normalize_weights",
    "r",
    "alpha",
    "int8_mask",
    "consensus_method",
];

/// Methods that mergekit has and billon does not have yet.
pub(crate) const FOREIGN_METHODS: &[&str] = &[
    "della",
    "della_linear",
    "breadcrumbs",
    "breadcrumbs_ties",
    "model_stock",
    "multislerp",
    "karcher",
    "sce",
    "ram",
    "ramplus_tl",
    "nearswap",
    "arcee_fusion",
];

/// Who a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParameterScope {
    /// One value per output tensor.
    Shared,
    /// One value per input.
    Input,
    /// One value per input that is not the base model.
    NonBaseInput,
}

/// What holds when a recipe does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ParameterDefault {
    /// The recipe must say.
    Required,
    /// No value.
    Absent,
    /// This value.
    Value(Value),
}

/// One parameter of a method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ParameterSpec {
    /// mergekit's key.
    pub name: &'static str,
    /// Its type.
    pub kind: ParameterKind,
    /// Who it belongs to.
    pub scope: ParameterScope,
    /// What holds without it.
    pub default: ParameterDefault,
}

impl ParameterSpec {
    const fn new(name: &'static str, kind: ParameterKind, scope: ParameterScope, default: ParameterDefault) -> Self {
        Self { name, kind, scope, default }
    }

    const fn number(name: &'static str, scope: ParameterScope, default: f64) -> Self {
        Self::new(name, ParameterKind::Number, scope, ParameterDefault::Value(Value::Number(default)))
    }

    /// A share of a whole, from 0 to 1.
    const fn share(name: &'static str, scope: ParameterScope, default: f64) -> Self {
        Self::new(name, ParameterKind::Share, scope, ParameterDefault::Value(Value::Number(default)))
    }

    const fn required(name: &'static str, scope: ParameterScope) -> Self {
        Self::new(name, ParameterKind::Number, scope, ParameterDefault::Required)
    }

    const fn switch(name: &'static str, default: bool) -> Self {
        Self::new(
            name,
            ParameterKind::Boolean,
            ParameterScope::Shared,
            ParameterDefault::Value(Value::Boolean(default)),
        )
    }
}

/// Accepted and without effect: in mergekit it only changes the type of a temporary.
const INT8_MASK: ParameterSpec = ParameterSpec::switch("int8_mask", false);

/// What a method says about the base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BaseRule {
    /// Must be among the inputs.
    Required,
    /// Used when given.
    Optional,
    /// An input like any other.
    Ignored,
}

/// How many inputs a method takes. With [`BaseRule::Ignored`] all inputs count, otherwise those
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

/// A value set for a tensor: parameters in the order of the specs.
pub(crate) type Values = Vec<(&'static str, Value)>;

/// All a method knows of a tensor before its data are read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorParameters {
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// What the method declares.
    pub specs: &'static [ParameterSpec],
    /// Shared parameters.
    pub shared: Values,
    /// Parameters of each input; a base model's entry may be empty.
    pub inputs: Vec<Values>,
    /// Position of the base model among the inputs.
    pub base: Option<usize>,
    /// Key of each input's random stream.
    pub stream_keys: Vec<u64>,
    /// Working type.
    pub precision: ComputeType,
}

impl TensorParameters {
    /// A shared number.
    ///
    /// # Errors
    /// A [`MethodFault`] when the method declares no such number.
    pub(crate) fn number(&self, name: &str) -> Result<f64, MethodFault> {
        self.declared(name, "a number")?;
        number_in(&self.shared, name).ok_or_else(|| MethodFault::NoValue { name: name.to_owned() })
    }

    /// A shared switch.
    ///
    /// # Errors
    /// A [`MethodFault`] when the method declares no such switch.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, MethodFault> {
        self.declared(name, "a switch")?;
        match find_value(&self.shared, name) {
            Some(Value::Boolean(value)) => Ok(value),
            _ => Err(MethodFault::NoValue { name: name.to_owned() }),
        }
    }

    /// A shared word.
    ///
    /// # Errors
    /// A [`MethodFault`] when the method declares no such word.
    pub(crate) fn word(&self, name: &str) -> Result<&'static str, MethodFault> {
        self.declared(name, "a word")?;
        match find_value(&self.shared, name) {
            Some(Value::Word(word)) => Ok(word),
            _ => Err(MethodFault::NoValue { name: name.to_owned() }),
        }
    }

    /// Indices of the inputs that are not the base, in order.
    pub(crate) fn tuned(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.inputs.len()).filter(|i| Some(*i) != self.base)
    }

    /// A number of input `index`; `None` where the recipe may leave it out and does.
    ///
    /// # Errors
    /// A [`MethodFault`] when the method declares no such number, or there is no such input.
    pub(crate) fn input_number(&self, index: usize, name: &str) -> Result<Option<f64>, MethodFault> {
        self.declared(name, "a number")?;
        let values = self.inputs.get(index).ok_or_else(|| MethodFault::NoValue { name: name.to_owned() })?;
        Ok(number_in(values, name))
    }

    /// A number of every input in `inputs`, in order.
    ///
    /// # Errors
    /// A [`MethodFault`] when one has none.
    pub(crate) fn numbers(&self, inputs: impl Iterator<Item = usize>, name: &str) -> Result<Vec<f64>, MethodFault> {
        let number = |i| self.input_number(i, name)?.ok_or_else(|| MethodFault::NoValue { name: name.to_owned() });
        inputs.map(number).collect()
    }

    /// A number of every input that is not the base, in order.
    ///
    /// # Errors
    /// A [`MethodFault`] when one has none.
    pub(crate) fn tuned_numbers(&self, name: &str) -> Result<Vec<f64>, MethodFault> {
        self.numbers(self.tuned(), name)
    }

    /// Number of elements.
    #[must_use]
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    fn declared(&self, name: &str, kind: &'static str) -> Result<(), MethodFault> {
        let fits = |spec: &ParameterSpec| match spec.kind {
            ParameterKind::Number | ParameterKind::Share => kind == "a number",
            ParameterKind::Boolean => kind == "a switch",
            ParameterKind::Choice(_) => kind == "a word",
        };
        if self.specs.iter().any(|spec| spec.name == name && fits(spec)) {
            Ok(())
        } else {
            Err(MethodFault::Undeclared { name: name.to_owned(), kind })
        }
    }
}

fn find_value(values: &Values, name: &str) -> Option<Value> {
    values.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

fn number_in(values: &Values, name: &str) -> Option<f64> {
    match find_value(values, name) {
        Some(Value::Number(n)) => Some(n),
        _ => None,
    }
}

/// Coefficients of the inputs of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Coefficients {
    /// One per input.
    Uniform(Vec<f64>),
    /// `[row][input]`, rows along the last axis.
    PerRow(Vec<Vec<f64>>),
    /// `[input][column]`, columns along the first axis.
    PerColumn(Vec<Vec<f64>>),
}

/// The elementwise pass that writes a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Map {
    /// Input 0, bytes as they are when the dtype allows.
    Copy,
    /// Input 0 times a factor.
    Scale {
        /// The factor.
        factor: f64,
    },
    /// See [`crate::compute::merge::WeightedSum`]; coefficients for all inputs.
    WeightedSum {
        /// One per input.
        coefficients: Coefficients,
        /// Divides the sum.
        divisor: Option<f64>,
    },
    /// See [`crate::compute::merge::TaskVectors`]; coefficients for the inputs that are not the base.
    TaskVectors {
        /// One per non-base input.
        coefficients: Coefficients,
        /// One per non-base input.
        selections: Vec<crate::compute::merge::Selection>,
        /// Elect signs.
        consensus: bool,
        /// Divide by the weights that took part.
        normalize: bool,
        /// Divides the sum (without consensus).
        divisor: Option<f64>,
        /// lambda.
        scale: f64,
    },
}

/// A merge method.
pub(crate) trait MergeMethod: Sync {
    /// mergekit's name.
    fn name(&self) -> &'static str;

    /// One line for tables.
    fn summary(&self) -> &'static str;

    /// Where it comes from, for model cards.
    fn reference(&self) -> &'static str;

    /// Its parameters.
    fn parameters(&self) -> &'static [ParameterSpec];

    /// What inputs it takes.
    fn contract(&self) -> InputContract;

    /// Whether a tensor that only one input has is copied instead of being an error.
    fn copies_lone_tensor(&self) -> bool {
        false
    }

    /// What must be measured before the map.
    ///
    /// # Errors
    /// A [`MethodFault`], which is a defect of the method.
    fn statistics(&self, _tensor: &TensorParameters) -> Result<Statistics, MethodFault> {
        Ok(Statistics::None)
    }

    /// The map, given the measurements that [`MergeMethod::statistics`] asked for.
    ///
    /// # Errors
    /// A [`MethodFault`], which is a defect of the method.
    fn map(&self, tensor: &TensorParameters, measured: &Measured) -> Result<Map, MethodFault>;

    /// Refuses values that have no meaning together, before anything is written: `Some` says why. Ranges of single
    /// values are a matter of their [`ParameterKind`].
    ///
    /// # Errors
    /// A [`MethodFault`], which is a defect of the method.
    fn check(&self, _tensor: &TensorParameters) -> Result<Option<String>, MethodFault> {
        Ok(None)
    }
}

impl std::fmt::Debug for dyn MergeMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
