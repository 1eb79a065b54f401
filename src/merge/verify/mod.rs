//! `billon verify`: does a directory still hold what its lock says, and do its inputs give it again?

mod check;
mod derive;
mod files;
mod report;

pub(crate) use check::require_clean;
pub use check::verify;
pub use report::{VerifyOptions, VerifyReport};
