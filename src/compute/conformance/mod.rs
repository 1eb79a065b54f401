//! Conformance suites: one for each trait, instantiated for each implementation by a macro, and one for each operation of
//! the decoder, at every SIMD level.
//!
//! Merge kernels are compared with the oracle ([`merge::reference`]) byte for byte, decoder kernels with plain loops in f64
//! within bounds that follow from the arithmetic, and bit for bit between levels.

pub(crate) mod levels;
pub(crate) mod merge;
pub(crate) mod nn;
mod simd;
