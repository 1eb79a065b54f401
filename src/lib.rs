//! Merge specialist language models and prove what the merge kept and what it forgot.
//!
//! Data flow one way: a [`recipe`] is planned against opened [`checkpoint`]s into a
//! [`merge::plan::MergePlan`], which the executor turns into output shards through a [`backend`],
//! chunk by chunk. The module list below is in dependency order; a test holds it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

mod clock;
mod dtype;
mod error;
mod event;
mod panics;
mod rng;
mod visible;

mod parallel;
mod suggest;

mod storage;
mod yaml;

mod python;
mod stats;

mod compute;

mod arch;
mod checkpoint;
mod hub;
mod tokenizer;

mod lora;
mod recipe;
mod task;

mod merge;
mod model;

mod convert;
mod eval;
mod inspect;

mod train;

mod experiment;

mod demo;

mod cli;

#[doc(hidden)]
pub mod internal;

pub use error::{Error, ErrorKind, Result};
