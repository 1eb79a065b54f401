//! Panics of libraries on damaged input, as errors.
//!
//! The `tokenizers` crate unwraps while it reads some damaged files, and template engines have had such places too. What
//! they panic with is caught at the border to them and becomes an error that names the file. Everything else that
//! panics is a bug of ours and is reported as one.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CATCHING: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work`; a panic becomes its message. Whatever `work` was changing when it panicked must not be used again.
///
/// # Errors
/// Message of the panic.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    CATCHING.set(CATCHING.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(CATCHING.get() - 1);
    result.map_err(|panic| text(&*panic))
}

/// Keeps panics that [`caught`] turns into errors from being printed as well.
pub(crate) fn print_only_uncaught() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if CATCHING.get() == 0 {
            usual(panic);
        }
    }));
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no reason was given".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(caught(|| 3), Ok(3));
        let index = std::hint::black_box(5);
        assert!(caught(|| [1, 2][index]).unwrap_err().contains("out of bounds"));
        assert_eq!(CATCHING.get(), 0);
    }
}
