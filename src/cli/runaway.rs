//! The end of a process whose template runs away, see [`crate::python::jinja::guard`].

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::error::ErrorKind;
use crate::python::jinja::guard;
use crate::visible;

static JSON: AtomicBool = AtomicBool::new(false);

/// The action of SIGSEGV that the standard library installed: it reports stack overflows of our own code.
static USUAL: OnceLock<libc::sigaction> = OnceLock::new();

/// Watches templates: one that takes too much time or memory ends the process with a message, as does one on which
/// the stack ends.
pub(super) fn watch(json: bool) {
    JSON.store(json, Ordering::Relaxed);
    guard::end_runaways(end, words);
    name_stack_overflows();
}

fn words(message: &str, hint: &str) -> String {
    if JSON.load(Ordering::Relaxed) {
        let kind = ErrorKind::Input.name();
        let value = json!({"event": "error", "kind": kind, "message": message, "chain": [message], "hints": [hint]});
        return format!("{}\n", visible::json(&value.to_string()));
    }
    format!("error: {}\n  hint: {hint}\n", visible::message(message))
}

fn end(message: &str, hint: &str) {
    let _ = io::stderr().write_all(words(message, hint).as_bytes());
    signal_hook::low_level::exit(i32::from(ErrorKind::Input.exit_code()));
}

/// Has a stack overflow inside a template end the process with the template's name. On the alternate stack that the
/// standard library gives every thread.
fn name_stack_overflows() {
    // SAFETY: all zeros is a valid `sigaction` (no handler, empty mask, no flags).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: as above.
    let mut usual: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: asks for the present action, written to memory of its type.
    if unsafe { libc::sigaction(libc::SIGSEGV, std::ptr::null(), &raw mut usual) } == 0 && USUAL.set(usual).is_ok() {
        // SAFETY: the handler has the signature that SA_SIGINFO asks for and only calls what a signal handler may.
        let _ = unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) };
    }
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if let Some((start, length)) = guard::last_words() {
        // SAFETY: the bytes live while the template is rendered, which it is; `write` and `_exit` are
        // async-signal-safe.
        unsafe {
            let _ = libc::write(libc::STDERR_FILENO, start.cast(), length);
            libc::_exit(i32::from(ErrorKind::Input.exit_code()));
        }
    }
    let usual = USUAL.get().map_or(libc::SIG_DFL, |usual| usual.sa_sigaction);
    if usual == libc::SIG_DFL || usual == libc::SIG_IGN {
        // SAFETY: async-signal-safe; the fault comes again on return and has its default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    // SAFETY: the action that was there before, which the standard library installed with SA_SIGINFO, gets what the
    // kernel gave this one.
    unsafe {
        let usual: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = std::mem::transmute(usual);
        usual(signal, info, context);
    }
}
