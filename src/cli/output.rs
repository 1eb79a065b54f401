//! Results on stdout, and the flags that say how.

use std::io::{self, Write};

use clap::Args;

use crate::error::{Diagnose, ErrorKind, Result};
use crate::parallel::Workers;
use crate::visible;

/// Flags that every long command has.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// Print the result as JSON on stdout and events as JSON lines on stderr.
    #[arg(long)]
    pub(super) json: bool,
    /// No progress on stderr; only errors, and warnings that the result may not be what is meant.
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Worker threads (default: all cores).
    #[arg(long, short = 'j', alias = "num-threads", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
}

impl OutputArgs {
    /// The threads asked for.
    pub(super) fn workers(&self) -> Workers {
        self.threads.map_or_else(Workers::available, |threads| Workers::new(usize::from(threads)))
    }
}

/// Writes a result to stdout, without characters that act on a terminal.
pub(super) fn print(text: &str) -> Result<()> {
    write(&visible::block(text))
}

/// Writes a result that is JSON to stdout.
pub(super) fn print_json_text(text: &str) -> Result<()> {
    write(&visible::json(text))
}

/// A reader that has closed the pipe is not an error.
fn write(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(StdoutError { source: error }.into()),
        _ => Ok(()),
    }
}

/// Writes a result as JSON to stdout.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|source| ResultError { source })?;
    text.push('\n');
    print_json_text(&text)
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout")]
struct StdoutError {
    source: io::Error,
}

impl Diagnose for StdoutError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Io
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the result cannot be written as JSON")]
struct ResultError {
    source: serde_json::Error,
}

impl Diagnose for ResultError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}
