//! Training specialists: a recipe and data in, an adapter (or a model) out.
//!
//! [`recipe`] says what to train on what; [`data`] turns task files and JSONL into masked token
//! sequences in a seeded order; [`schedule`] gives every step its learning rate; [`log`] writes down
//! how it went.

pub mod data;
pub mod log;
pub mod recipe;
pub mod schedule;
