//! A language model as the judge of free answers: correct, incorrect or unclear.
//!
//! - [`prompt`]: how it is asked, and how its answer is read.
//! - [`cache`]: verdicts on disk, so that no question is paid for twice.
//! - [`panel`]: many questions at a time, with what they cost.
//!
//! Without a judge nothing is scored: [`accuracy`] of no verdicts is `None`, never 0.

pub(crate) mod cache;
pub(crate) mod panel;
pub(crate) mod prompt;

pub use panel::Judge;
pub use panel::JudgeOptions;
pub use panel::Prices;
pub use prompt::{Question, Verdict, accuracy};
