//! Tests of the built program: what a user sees, against independent truth.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a panic fails the test; nobody reads its files")]

// The fuzz targets' own crate, as far as they need it here.
extern crate self as libfuzzer_sys;

mod architecture;
mod attacks;
mod checkpoint;
mod compare_scores;
mod context;
mod convert;
mod decoder;
mod decoder_refusals;
mod environment;
mod eval;
mod eval_refusals;
mod experiment_state;
mod experiments;
mod field_adapters;
mod field_models;
mod fixtures;
mod formulas;
mod fuzz;
#[allow(
    unused_attributes,
    clippy::duplicate_mod,
    clippy::redundant_closure_for_method_calls,
    reason = "they are written as programs of another crate"
)]
mod fuzz_targets;
mod gate;
mod gate_inputs;
mod inputs;
mod inputs_changed;
mod interrupt;
mod library;
mod licences;
mod local_model;
mod lora;
mod merge;
mod merge_adapters;
mod merge_fit;
mod merge_values;
mod mergekit_flags;
mod methods_f64;
mod openai;
mod outputs;
mod outputs_eval;
mod outputs_mounted;
mod outputs_train;
mod parity_mergekit;
mod plan;
mod plan_memory;
mod recipe_errors;
mod recipes;
mod snapshots;
mod task_data;
mod task_keys;
mod task_prompts;
mod tasks;
mod terminal;
mod tokenizer;
mod train_data;
mod train_lengths;
mod train_prompts;
mod train_rows;
mod training;
mod training_runs;
mod training_state;
mod trim_scope;
mod verify;
mod words;

/// Gives a fuzz target's body a name.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:block) => {
        pub(crate) fn run($input: &[u8]) {
            $body
        }
    };
}
