//! Picks the consumer of events.

use std::io::IsTerminal;

use super::{bars, json, plain, quiet};
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
