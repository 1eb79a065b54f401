//! The `billon` command: parse, run, map errors to exit codes. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    billon::cli::main()
}
