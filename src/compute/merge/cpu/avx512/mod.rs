//! The kernels that merges spend their time in, in AVX-512 registers from load to store, for f32 arithmetic.
//!
//! The compiler's versions of the bodies in [`super::maps`] and [`super::reductions`] pass every intermediate result
//! through the first-level cache; these keep up with memory.

mod bracket;
mod draws;
mod group;
mod keep;
mod kernels;
mod magnitude_sums;
mod non_finite;
mod products;
mod sample;
mod task_vectors;
mod weighted_sum;
