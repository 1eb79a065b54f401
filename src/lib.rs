//! Merge specialist language models and prove what the merge kept and what it forgot.
//!
//! Data flow one way: a [`recipe`] is planned against opened [`checkpoint`]s into a
//! [`merge::plan::MergePlan`], which the executor turns into output shards through a [`backend`],
//! chunk by chunk. The module list below is in dependency order; a test holds it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod clock;
pub mod dtype;
pub mod error;
pub mod event;
pub mod input;
pub mod panics;
pub mod python_regex;
pub mod rng;
pub mod threads;
pub mod visible;

pub mod checkpoint;
pub mod hub;
pub mod jinja;
pub mod yaml;

pub mod arch;
pub mod backend;
pub mod tokenizer;

pub mod lora;
pub mod recipe;
pub mod task;

pub mod merge;
pub mod model;

pub mod convert;
pub mod eval;
pub mod inspect;

pub mod train;

pub mod experiment;

pub mod demo;

pub mod cli;

pub use error::{Error, ErrorKind, Result};
