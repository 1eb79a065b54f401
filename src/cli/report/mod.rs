//! Consumers of events: bars on a terminal, plain lines elsewhere, JSON lines for programs.

mod bars;
mod json;
pub(crate) mod plain;
mod quiet;
mod training;

use std::io::IsTerminal;

use crate::event::Reporter;

/// The consumer for the situation.
pub(crate) fn reporter(json: bool, quiet: bool) -> Box<dyn Reporter> {
    if quiet {
        Box::new(quiet::Quiet { json })
    } else if json {
        Box::new(json::JsonLines::default())
    } else if std::io::stderr().is_terminal() {
        Box::new(bars::Bars::default())
    } else {
        Box::new(plain::Plain::default())
    }
}
