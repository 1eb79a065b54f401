//! Training specialists: a recipe and data in, an adapter (or a model) out.
//!
//! [`recipe`] says what to train on what; [`data`] turns task files and JSONL into masked token
//! sequences in a seeded order. [`run()`] puts the parameters into the decoder (`inject`), and step by
//! step computes the gradient of a batch, moves the parameters (AdamW, [`schedule`]),
//! writes [`log`] lines and checkpoints, and asks the evaluation engine how it goes.

pub(crate) mod batch_sampler;
mod checkpoint;
pub(crate) mod data;
mod divergence;
mod error;
mod evaluation;
mod fingerprint;
mod folder;
mod gradient;
pub(crate) mod inject;
pub(crate) mod inputs;
pub(crate) mod log;
pub(crate) mod memory_estimate;
mod optimiser;
mod options;
mod parameter;
mod prompt_record;
pub(crate) mod recipe;
mod resume;
mod run;
mod save;
pub(crate) mod schedule;

pub(crate) use data::asking_template;
pub(crate) use error::TrainError;
pub use options::TrainOptions;
pub(crate) use prompt_record::PromptRecord;
pub use run::TrainReport;
pub(crate) use run::run;
