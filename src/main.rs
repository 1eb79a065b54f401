//! The `billon` command: parse, run, map errors to exit codes. Everything else is in the library.

use std::process::ExitCode;

/// A forward pass allocates hundreds of tensors of a megabyte; the system's allocator would fetch
/// and return their pages each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    billon::cli::main()
}
