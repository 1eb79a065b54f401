//! Templated financial English with labels, and general instructions.
//!
//! A document is a core sentence, which alone decides its label, and at times a clause about
//! something else. Which split a document may be in follows from a hash of its core
//! ([`split::Split::of`]), so no two splits share one, whatever the seed, and what the base model
//! saw before is in none of them.

mod corpus;
mod draw;
mod instructions;
mod sentence;
mod split;
mod tasks;
mod words;
mod write;

pub(super) use corpus::{Sample, pretraining};
pub use write::write_data;
