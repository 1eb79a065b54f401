//! Comparing two runs document by document.
//!
//! [`pairing`] puts the documents of two results side by side and says what makes them incomparable;
//! [`paired`] holds the statistics of such pairs; [`report`] is the comparison as data. Everything is
//! paired: two models that answer the same documents differ far more surely than two unpaired
//! scores can show. Where a file has no documents, `plain` compares the scores and says so.

pub mod discordant;
mod labels;
pub mod mover;
pub mod paired;
pub mod pairing;
mod plain;
mod range;
pub mod report;

pub use discordant::Discordant;
pub use mover::{Mover, Quantity, Side, SmallClass};
pub use paired::PairedTally;
pub use pairing::{CompareError, Pairing, pair};
pub use range::Range;
pub use report::{Comparison, Wanted, compare, compare_each};
