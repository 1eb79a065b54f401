//! Arithmetic on slices: merge kernels and the decoder's kernels.
//!
//! [`merge`] holds the kernels that merge methods are made of, [`nn`] those of the decoder, forward and backward.
//! Neither knows files, recipes, tokenizers or threads.

pub(crate) mod conformance;
pub(crate) mod merge;
pub(crate) mod nn;
