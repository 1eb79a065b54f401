//! Tests of the built program: what a user sees, against independent truth.

mod checkpoint;
mod context;
mod fixtures;
mod formulas;
mod inputs;
mod interrupt;
mod merge;
mod methods_f64;
mod parity_mergekit;
mod plan;
mod recipe_errors;
mod recipes;
