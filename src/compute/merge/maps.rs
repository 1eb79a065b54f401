//! The two maps of merge methods, as values.

use super::operand::{Coefficient, ComputeType, Operand};
use super::selection::Selection;

/// `out = (c0*x0 + c1*x1 + ...) / divisor`: fused multiply-adds in input order starting from zero,
/// then the division, then one rounding to the output type.
#[derive(Debug)]
pub struct WeightedSum<'a> {
    /// Models.
    pub inputs: &'a [Operand<'a>],
    /// One for each input, rounded to the compute type.
    pub coefficients: &'a [Coefficient<'a>],
    /// Divisor of the sum, if any.
    pub divisor: Option<f64>,
    /// Compute type.
    pub precision: ComputeType,
}

/// `out = b + scale * mix`, where `mix` combines `u_i = w_i * (r_i * selected(x_i - b))`.
///
/// Without consensus `mix = sum u_i`, divided by `divisor` if there is one. With consensus (TIES, Yadav et al. 2023) the
/// sign of `sum u_i` is elected (zero elects plus), only `u_i` of that sign are added, and with `normalize` the result is
/// divided by the sum of their `w_i` (zero counts as one).
/// Every operation rounds to the compute type; sums run in input order. An element that is NaN in
/// the base or in any input that is not [`Selection::Nothing`] comes out NaN.
#[derive(Debug)]
pub struct TaskVectors<'a> {
    /// Base model.
    pub base: Operand<'a>,
    /// Fine-tuned models.
    pub inputs: &'a [Operand<'a>],
    /// One for each input.
    pub selections: &'a [Selection],
    /// For each random selection, optionally, the mask that [`MergeKernels::magnitude_sums`](super::MergeKernels) drew
    /// for these elements: the same bytes come out faster. Empty for no masks at all.
    pub masks: &'a [Option<&'a [u64]>],
    /// One for each input, rounded to the compute type.
    pub coefficients: &'a [Coefficient<'a>],
    /// Elect a sign per element.
    pub consensus: bool,
    /// Divide by the weights that took part (only with consensus).
    pub normalize: bool,
    /// Divisor of the sum (only without consensus).
    pub divisor: Option<f64>,
    /// Factor lambda of the combined task vector.
    pub scale: f64,
    /// Flat index of the call's first element; a multiple of [`DRAW_GROUP`](super::DRAW_GROUP) when a selection is
    /// random.
    pub first_element: u64,
    /// Compute type.
    pub precision: ComputeType,
}
