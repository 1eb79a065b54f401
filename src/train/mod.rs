//! Training specialists: a recipe and data in, an adapter (or a model) out.
//!
//! [`recipe`] says what to train on what; [`data`] turns task files and JSONL into masked token
//! sequences in a seeded order. [`run`] puts the parameters into the decoder (`attach`), and step by
//! step computes the gradient of a batch, moves the parameters (AdamW, [`schedule`]),
//! writes [`log`] lines and checkpoints, and asks the evaluation engine how it goes.

mod attach;
mod checkpoint;
mod course;
pub mod data;
mod divergence;
mod error;
mod estimate;
mod evaluation;
mod fingerprint;
mod folder;
mod gradient;
pub mod inputs;
pub mod log;
mod optimiser;
mod parameter;
mod prompt_record;
pub mod recipe;
mod resume;
mod run;
mod save;
pub mod schedule;

pub(crate) use data::asking_template;
pub use error::TrainError;
pub use estimate::available_bytes;
pub(crate) use prompt_record::PromptRecord;
pub use run::{TrainOptions, TrainReport, run};
