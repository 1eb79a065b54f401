//! Tests of the built program: what a user sees, against independent truth.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a panic fails the test; nobody reads its files")]

mod architecture;
mod checkpoint;
mod context;
mod convert;
mod fixtures;
mod formulas;
mod inputs;
mod interrupt;
mod merge;
mod methods_f64;
mod openai;
mod parity_mergekit;
mod plan;
mod recipe_errors;
mod recipes;
mod trim_scope;
