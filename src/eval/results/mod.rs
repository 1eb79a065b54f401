//! Results files in the harness's layout: `results_<time>.json` and `samples_<task>_<time>.jsonl`.
//!
//! [`record`] says what is written, [`write()`] publishes it so that the harness's own readers accept
//! it, [`read`] and `samples` load such files whoever wrote
//! them, of the model that `locate` finds. What the harness has no place for stands under
//! the key `billon`. [`python`] spells values as Python does, which the hashes rest on.

pub mod error;
mod locate;
pub mod python;
pub mod read;
pub mod record;
mod samples;
pub mod write;

#[cfg(test)]
mod harness_tests;

pub use error::ResultsError;
pub use read::{RunResults, TaskResults};
pub use record::{GroupMetric, GroupRecord, RunRecord, SampleRecord, TaskRecord, TaskRun};
pub use samples::Sample;
pub use write::{Destination, Written, stamp, write};
