//! Comparing two runs document by document.
//!
//! [`pairing`] puts the documents of two results side by side and says what makes them incomparable;
//! [`paired`] holds the statistics of such pairs; [`report`] is the comparison as data. Everything is
//! paired: two models that answer the same documents differ far more surely than two unpaired
//! scores can show.

pub mod discordant;
mod labels;
pub mod mover;
pub mod paired;
pub mod pairing;
pub mod report;

pub use discordant::Discordant;
pub use mover::{Mover, Quantity, Side, SmallClass};
pub use paired::PairedTally;
pub use pairing::{CompareError, Pairing, pair};
pub use report::{Comparison, compare};
