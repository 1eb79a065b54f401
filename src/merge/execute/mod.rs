//! Running a plan: chunks, threads, reductions, maps.
//!
//! - [`executor`]: spreads the tensors of a plan over the workers and writes their chunks to a [`sink`].
//! - [`chunk`]: how a tensor is cut; the unit of results, so that bytes do not depend on threads.
//! - [`reduction`], [`trim`], [`whole_model`]: the passes before the map; [`map_part`]: the map.
//! - [`adapted`]: models with a LoRA adapter on top, as recipes name them (`model+adapter`).
//! - [`non_finite`]: infinities and NaN that a merge makes.
//! - [`input_digests`]: hashes of the inputs for the lock, taken while they are read.
//! - [`memory`]: the peak of a plan.

pub(crate) mod adapted;
pub(crate) mod chunk;
pub(crate) mod executor;
pub(crate) mod input_digests;
pub(crate) mod map_part;
pub(crate) mod memory;
pub(crate) mod non_finite;
pub(crate) mod reduction;
pub(crate) mod sink;
pub(crate) mod trim;
pub(crate) mod whole_model;
