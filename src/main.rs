//! The `billon` command: parse, run, map errors to exit codes. Everything else is in the library.

use std::process::ExitCode;

/// A forward pass allocates hundreds of tensors of a megabyte; the system's allocator would fetch
/// and return their pages each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    // A training step frees its activations and wants them again some seconds later. The default of ten
    // milliseconds costs a sixth of the time in cleared pages.
    // SAFETY: sets a number; no other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 10_000) };
    billon::internal::main()
}
