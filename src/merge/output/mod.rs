//! Output of a merge: the files beside the weights, the lock, the report, or a model in memory.
//!
//! - [`files`]: config, tokenizer and other files that are copied or written beside the weights.
//! - [`card`]: the model card.
//! - [`input_records`]: sizes and digests of the inputs, for the lock.
//! - [`lock`]: the record of recipe, inputs and outputs that `billon verify` reads.
//! - [`report`]: counts and times of a finished merge.
//! - [`in_memory()`](in_memory::in_memory): the same merge without files, for a decoder to run.

pub(crate) mod card;
pub(crate) mod files;
pub(crate) mod in_memory;
pub(crate) mod input_records;
pub(crate) mod lock;
pub(crate) mod report;
