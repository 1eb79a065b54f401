//! Signals: the first asks the work to stop, the second ends the process, and work that does not stop is ended.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, exit};

use super::report::plain::write_line;
use crate::error::ErrorKind;
use crate::event::CancelFlag;
use crate::parallel::{sleep, spawn_detached};

/// Time for the work to notice that it shall stop: a chunk of a merge, a batch of an evaluation, a long `fsync`.
const TO_NOTICE: Duration = Duration::from_secs(10);

/// Time for it to stop once it has noticed: staged files are removed, threads are waited for.
const TO_STOP: Duration = Duration::from_secs(60);

/// Time to say so.
const TO_SAY: Duration = Duration::from_millis(500);

/// Lets signals raise the flag. Those that the process was started to ignore, by `nohup` or a shell's `trap ''`, stay
/// ignored.
pub(super) fn watch(cancel: &Arc<CancelFlag>) {
    let signals: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal)).collect();
    let cancel = Arc::clone(cancel);
    let (installed, wait) = mpsc::channel();
    // Handlers are set on the thread: without it, signals keep their default action, the run ends without cleaning
    // up, and the next one sweeps.
    let watch = move || {
        let Ok(mut signals) = Signals::new(&signals) else { return };
        let _ = installed.send(());
        let mut first = true;
        for signal in signals.forever() {
            if !std::mem::take(&mut first) {
                let _ = emulate_default_handler(signal);
            }
            cancel.cancel();
            let cancel = Arc::clone(&cancel);
            // Without this thread only a second signal ends work that does not stop.
            let _ = spawn_detached("deadline", move || end_when_late(&cancel));
        }
    };
    if spawn_detached("signals", watch).is_ok() {
        let _ = wait.recv();
    }
}

/// Lets a write beyond `ulimit -f` fail with an error and a clean-up: the signal would end the process.
pub(super) fn catch_file_size_signal() {
    let seen = Arc::new(AtomicBool::new(false));
    // Without it, such a write ends the process as a kill does, and the next run sweeps.
    let _ = signal_hook::flag::register(SIGXFSZ, seen);
}

/// Ends the process when the work goes on although it was asked to stop.
fn end_when_late(cancel: &CancelFlag) {
    let start = Instant::now();
    loop {
        let limit = if cancel.is_noticed() { TO_STOP } else { TO_NOTICE };
        if start.elapsed() > limit {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    let seconds = start.elapsed().as_secs();
    let message = format!("error: interrupted; the work did not stop within {seconds} s and was ended");
    // The work may be stuck in writing to a pipe that nobody reads, and hold the lock of stderr.
    let _ = spawn_detached("last words", move || write_line(&message)).map(|_| sleep(TO_SAY));
    exit(i32::from(ErrorKind::Cancelled.exit_code()));
}

/// Whether a signal was ignored when the process began.
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only asks for the present one, which is written to memory of its type.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    if asked != 0 {
        // Never so for the signals above; a signal that can't be asked about is handled.
        debug_assert_eq!(asked, 0, "{}", io::Error::last_os_error());
        return false;
    }
    // SAFETY: the call succeeded, so that the action is written.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reaches the unsafe blocks. `tests/it` starts the program with ignored signals.
    #[test]
    fn handled_signals_are_not_taken_for_ignored_ones() {
        // Rust's runtime ignores SIGPIPE, and nobody ignores SIGWINCH.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGWINCH));
    }
}
