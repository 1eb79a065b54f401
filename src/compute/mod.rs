//! Arithmetic on slices: merge kernels and the decoder's kernels, over one SIMD abstraction.
//!
//! [`merge`] holds the kernels of merge methods, [`nn`] those of the decoder, forward and backward; both are written against
//! [`simd`]. `conformance` is the suite that every implementation passes. Nothing here knows files, recipes, tokenizers or
//! threads.

#[cfg(test)]
pub(crate) mod conformance;
pub(crate) mod merge;
pub(crate) mod nn;
pub(crate) mod simd;
