//! Tests of the built program: what a user sees, against independent truth.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a panic fails the test; nobody reads its files")]

mod architecture;
mod attacks;
mod checkpoint;
mod context;
mod convert;
mod decoder;
mod decoder_refusals;
mod environment;
mod eval;
mod eval_refusals;
mod experiments;
mod fixtures;
mod formulas;
mod fuzz_lock;
mod gate;
mod inputs;
mod interrupt;
mod local_model;
mod lora;
mod merge;
mod merge_adapters;
mod methods_f64;
mod openai;
mod outputs;
mod outputs_eval;
mod outputs_mounted;
mod outputs_train;
mod parity_mergekit;
mod plan;
mod recipe_errors;
mod recipes;
mod task_data;
mod task_keys;
mod task_prompts;
mod tasks;
mod terminal;
mod tokenizer;
mod train_data;
mod training;
mod training_runs;
mod trim_scope;
