//! Comparing two runs document by document.
//!
//! [`pairing`] puts the documents of two results side by side and says what makes them incomparable;
//! [`paired`] holds the statistics of such pairs; [`report`] is the comparison as data. Everything is
//! paired: two models that answer the same documents differ far more surely than two unpaired
//! scores can show. Where a file has no documents, `plain` compares the scores and says so.

mod comparison;
mod labels;
pub(crate) mod mover;
pub(crate) mod paired;
pub(crate) mod pairing;
mod plain;
mod range;
pub(crate) mod report;

pub(crate) use comparison::{Comparison, TaskComparison};
pub use mover::Mover;
pub use mover::Quantity;
pub use mover::Side;
pub(crate) use mover::SmallClass;
pub use paired::PairedTally;
pub(crate) use pairing::{CompareError, Pairing};
pub(crate) use range::Range;
pub(crate) use report::{Wanted, compare, compare_each};
