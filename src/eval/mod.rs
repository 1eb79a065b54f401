//! Scoring models on tasks, comparing the scores, and deciding whether something was forgotten.
//!
//! A [`session`] opens what an evaluation needs. [`run`] asks a [`language_model`] ([`local`] or behind a server) what [`request`] makes of a
//! task's prompts; [`cache`] remembers the answers of a model's [`identity`]. What is then known
//! about a document is an [`outcome`]. [`scoring`] reads it through [`filter`]s and a [`protocol`]
//! into [`metrics`] with [`interval`]s, [`results`] keeps them in the harness's layout, and
//! [`compare`] sets two results side by side.

mod adapter_companions;
pub(crate) mod cache;
pub(crate) mod compare;
pub(crate) mod filter;
pub(crate) mod gate;
pub(crate) mod identity;
pub(crate) mod interval;
pub(crate) mod judge;
pub(crate) mod language_model;
pub(crate) mod local;
mod local_generate;
mod local_model;
mod local_score;
pub(crate) mod metrics;
pub(crate) mod on_disk;
pub(crate) mod open;
pub(crate) mod outcome;
mod prefix;
mod prefix_cache;
pub(crate) mod protocol;
pub(crate) mod request;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod scoring;
pub(crate) mod server;
pub(crate) mod session;
