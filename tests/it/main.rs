//! Tests of the built program: what a user sees, against independent truth.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a panic fails the test; nobody reads its files")]

mod architecture;
mod checkpoint;
mod context;
mod convert;
mod decoder;
mod decoder_refusals;
mod eval;
mod experiments;
mod fixtures;
mod formulas;
mod gate;
mod inputs;
mod inputs_changed;
mod interrupt;
mod local_model;
mod lora;
mod merge;
mod merge_adapters;
mod merge_fit;
mod merge_values;
mod methods_f64;
mod openai;
mod parity_mergekit;
mod plan;
mod plan_memory;
mod recipe_errors;
mod recipes;
mod task_prompts;
mod tasks;
mod tokenizer;
mod train_data;
mod training;
mod training_runs;
mod trim_scope;
mod verify;
