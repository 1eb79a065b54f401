//! Merge kernels over slices of raw tensor bytes.
//!
//! A merge method is *reductions over chunks, then one map*; [`MergeKernels`] has those two kinds of calls. The executor
//! cuts chunks and calls; kernels know no files, recipes or threads. Every implementation writes the same bytes: f32
//! arithmetic (f64 for F64 data) in the order stated at each operation, a fused multiply-add only where stated, one
//! rounding to the output type, one NaN, random masks from the counter generator ([`selection`]), sums in the fixed shape
//! of [`sum`].
//!
//! [`cpu::Cpu`] is the implementation on [`crate::compute::simd`]; the oracle in `conformance` states each operation one
//! element at a time.

pub(crate) mod cpu;
mod delta;
mod kernels;
mod magnitude;
mod maps;
mod operand;
pub(crate) mod selection;
pub(crate) mod sum;

pub use delta::Delta;
pub(crate) use delta::DeltaSummary;
pub use kernels::MergeKernels;
#[cfg(test)]
pub(crate) use magnitude::magnitude_key_f32;
pub use magnitude::{Bracket, Digit};
pub use maps::{TaskVectors, WeightedSum};
pub use operand::{Coefficient, ComputeType, Operand, Output};
pub(crate) use selection::DRAW_GROUP;
pub use selection::Selection;
