//! Consumers of events: bars on a terminal, plain lines elsewhere, JSON lines for programs.

mod bars;
mod choose;
mod json;
pub(crate) mod plain;
mod quiet;
mod training;

pub(crate) use choose::reporter;
