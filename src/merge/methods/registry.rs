//! The table of all methods, and the names that mergekit has besides.

use super::MergeMethod;
use super::elementwise::{dare, linear, nuslerp, passthrough, slerp, task_arithmetic, ties};

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

/// Broken methods, which unit tests merge with.
#[cfg(test)]
const TRIALS: &[&dyn MergeMethod] = super::trials::TRIALS;
#[cfg(not(test))]
const TRIALS: &[&dyn MergeMethod] = &[];

/// The method of a name.
#[must_use]
pub(crate) fn find(name: &str) -> Option<&'static dyn MergeMethod> {
    REGISTRY.iter().chain(TRIALS).find(|method| method.name() == name).copied()
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
