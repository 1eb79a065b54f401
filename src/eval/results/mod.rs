//! Results files in the harness's layout: `results_<time>.json` and `samples_<task>_<time>.jsonl`.
//!
//! [`record`] says what is written, [`write()`] publishes it so that the harness's own readers accept
//! it, [`read`] and `samples` load such files whoever wrote
//! them, of the model that `locate` finds. What the harness has no place for stands under
//! the key `billon`. [`json`](crate::python::json) spells values as Python does, which the hashes rest on.

pub(crate) mod error;
mod json;
mod locate;
pub(crate) mod read;
pub(crate) mod record;
mod samples;
pub(crate) mod write;

#[cfg(test)]
mod harness_tests;

pub(crate) use error::ResultsError;
pub use read::RunResults;
pub use read::TaskResults;
pub(crate) use record::{GroupMetric, GroupRecord, RunRecord, SampleRecord, TaskRecord, TaskRun};
pub(crate) use samples::Sample;
pub(crate) use write::{Destination, Written, stamp, write};
