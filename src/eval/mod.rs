//! Scoring models on tasks, comparing the scores, and deciding whether something was forgotten.
//!
//! [`run`] asks a [`language_model`] ([`local`] or behind a server) what [`request`] makes of a
//! task's prompts; [`cache`] remembers the answers of a model's [`identity`]. What is then known
//! about a document is an [`outcome`]. [`scoring`] reads it through [`filter`]s and a [`protocol`]
//! into [`metric`]s with [`interval`]s, [`results`] keeps them in the harness's layout, and
//! [`compare`] sets two results side by side.

mod adapter_companions;
pub mod cache;
pub mod compare;
pub mod distribution;
pub mod filter;
pub mod gate;
pub mod identity;
pub mod interval;
pub mod judge;
pub mod language_model;
pub mod local;
mod local_generate;
mod local_score;
pub mod metric;
pub mod open;
pub mod openai;
pub mod outcome;
mod prefix;
mod prefix_cache;
pub mod protocol;
pub mod request;
pub mod resample;
pub mod results;
pub mod run;
pub mod scoring;
