//! Merge methods.
//!
//! A method is data: its parameters ([`params`]), the inputs that it takes ([`contract`]), the [`Reduction`] that it
//! needs of a tensor, and the [`Map`] that follows from it. The executor and the kernels do the rest. Adding one is a
//! file in [`elementwise`] and a line in [`registry`].
//!
//! - [`contract`]: the trait of all methods, and the typed one that elementwise methods implement.
//! - [`params`]: the `params!` macro, which declares a method's parameters once for recipes and for the method.
//! - [`tensor`]: values and roles of the inputs of one tensor.
//! - [`reduction`]: passes over the data that a method may ask for, and their results; [`map`]: the pass that writes.
//! - [`fault`]: broken methods, which end a merge with an internal error.

pub(crate) mod contract;
pub(crate) mod elementwise;
pub(crate) mod fault;
pub(crate) mod map;
pub(crate) mod params;
pub(crate) mod reduction;
pub(crate) mod registry;
pub(crate) mod tensor;
#[cfg(test)]
mod trials;
pub(crate) mod weights;

pub(crate) use contract::{BaseRule, ElementwiseMethod, InputContract, MergeMethod, MethodInfo};
pub(crate) use fault::{MethodError, MethodFault};
pub(crate) use map::{Coefficients, Map};
pub(crate) use params::{MethodParameters, ParameterDefault, ParameterScope, ParameterSpec};
pub(crate) use reduction::{Axis, DotProducts, Masks, Reduction, ReductionResult, Sparsify};
pub(crate) use registry::{FOREIGN_METHODS, FOREIGN_PARAMETERS, REGISTRY, find};
pub(crate) use tensor::{BaseInput, MethodInput, Role, TensorParameters, Values};
