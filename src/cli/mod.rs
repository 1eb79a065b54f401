//! The command line: the only part that knows the terminal.
//!
//! stdout carries results, stderr progress and diagnostics. Exit codes: 0 done, 1 failed, 2 usage
//! or invalid recipe, 100 and 102 the gate's verdicts, 130 interrupted (101 would be a panic, which
//! is always a bug).

mod adapter;
mod compare;
mod convert;
mod demo;
mod diff;
mod entry;
mod error_text;
mod eval;
mod gate;
mod harness_flags;
mod input;
mod inspect;
mod listing;
mod merge;
mod mergekit_flags;
mod methods;
mod output;
mod plan;
mod prompts;
mod report;
mod run;
mod runaway;
mod scores;
mod server;
mod signals;
mod size;
mod tasks;
mod terminal;
mod train;
mod verify;

pub use entry::main;
