//! Guard against templates that none of the engine's own limits stops.
//!
//! Fuel counts instructions, but one instruction can double a text (`{% set ns.x = ns.x ~ ns.x %}`), compare two
//! enormous values, or print a value that contains itself until the stack ends. Such a rendering can be neither
//! interrupted nor unwound, so the process has to end; a program that installs [`end_runaways`] decides how. Without it
//! nothing here acts.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::machine;
use crate::panics::caught;
use crate::parallel::{Thread, park, sleep, spawn_detached};

/// Longest time that one rendering may take. A long conversation takes milliseconds.
const MOST_TIME: Duration = Duration::from_secs(60);

/// Most memory by which the process may grow during one rendering that takes several [`TICK`]s.
const MOST_BYTES: u64 = 1 << 30;

/// Time between two looks at what is rendered.
const TICK: Duration = Duration::from_millis(10);

/// Renderings seen at fewer looks in a row have only waited for the processor.
const LOOKS: u32 = 5;

/// Ends the process: gets a message and its hint.
pub(crate) type EndProcess = fn(message: &str, hint: &str);

/// Makes the bytes that are written when the stack has ended, where nothing may be allocated any more.
pub(crate) type LastWords = fn(message: &str, hint: &str) -> String;

static ENDING: OnceLock<(EndProcess, LastWords)> = OnceLock::new();

/// Advice for the user about a template that runs away.
pub(crate) const HINT: &str = "a template that loops without end, builds huge texts or holds itself cannot be used";

/// Sets what is done when a rendering runs away.
pub(crate) fn end_runaways(end: EndProcess, last_words: LastWords) {
    let _ = ENDING.set((end, last_words));
}

/// A template as messages name it.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    name: Arc<str>,
    last_words: Arc<[u8]>,
}

impl Subject {
    /// A template called `name`, for example `the chat template of DIR`.
    #[must_use]
    pub(crate) fn new(name: &str) -> Self {
        let words = ENDING.get().map(|(_, words)| words(&format!("{name} needs more stack than there is"), HINT));
        Self { name: name.into(), last_words: words.unwrap_or_else(String::new).into_bytes().into() }
    }
}

thread_local! {
    /// The last words of what is rendered on this thread: address and length.
    static LAST_WORDS: Cell<(*const u8, usize)> = const { Cell::new((ptr::null(), 0)) };
    static SLOT: Arc<Slot> = Slot::new();
}

/// Message to write when the stack of this thread has overflowed: address and length, or `None` while it renders
/// nothing.
///
/// Safe to call in a signal handler. The bytes live until the rendering ends.
#[must_use]
pub(crate) fn last_words() -> Option<(*const u8, usize)> {
    Some(LAST_WORDS.get()).filter(|(start, length)| !start.is_null() && *length > 0)
}

/// Runs `work`, which parses or renders a template, under watch.
///
/// # Errors
/// The payload with which `work` panicked.
pub(crate) fn watched<T>(subject: &Subject, work: impl FnOnce() -> T) -> Result<T, String> {
    struct Leave((*const u8, usize));
    impl Drop for Leave {
        fn drop(&mut self) {
            LAST_WORDS.set(self.0);
            SLOT.with(|slot| slot.number.fetch_add(1, Ordering::Release));
        }
    }
    if ENDING.get().is_none() {
        return caught(work);
    }
    SLOT.with(|slot| {
        *slot.subject.lock().unwrap_or_else(PoisonError::into_inner) = Some(subject.clone());
        slot.number.fetch_add(1, Ordering::Release);
    });
    wake_watcher();
    let _leave = Leave(LAST_WORDS.replace((subject.last_words.as_ptr(), subject.last_words.len())));
    caught(work)
}

/// Template that a thread renders; the number is odd while it does.
struct Slot {
    number: AtomicU64,
    subject: Mutex<Option<Subject>>,
}

static SLOTS: Mutex<Vec<Arc<Slot>>> = Mutex::new(Vec::new());

impl Slot {
    fn new() -> Arc<Self> {
        let slot = Arc::new(Self { number: AtomicU64::new(0), subject: Mutex::new(None) });
        let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        // Slots of threads that have ended are held by nobody else.
        slots.retain(|slot| Arc::strong_count(slot) > 1);
        slots.push(Arc::clone(&slot));
        slot
    }
}

static ASLEEP: AtomicBool = AtomicBool::new(false);

/// Starts the thread that looks on, or wakes it. Where there can be no such thread, nobody looks on.
fn wake_watcher() {
    static WATCHER: OnceLock<Option<Thread>> = OnceLock::new();
    let watcher = WATCHER.get_or_init(|| spawn_detached("templates", look_on).ok());
    if let (true, Some(watcher)) = (ASLEEP.swap(false, Ordering::AcqRel), watcher) {
        watcher.unpark();
    }
}

/// A rendering that was seen before.
struct Seen {
    number: u64,
    since: Instant,
    looks: u32,
    bytes: u64,
}

fn look_on() {
    let mut seen: BTreeMap<usize, Seen> = BTreeMap::new();
    let mut idle = 0;
    loop {
        sleep(TICK);
        let slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut still = BTreeMap::new();
        for slot in &slots {
            let number = slot.number.load(Ordering::Acquire);
            if number % 2 == 0 {
                continue;
            }
            let place = Arc::as_ptr(slot) as usize;
            let mut rendering = match seen.remove(&place).filter(|seen| seen.number == number) {
                Some(rendering) => rendering,
                None => Seen { number, since: Instant::now(), looks: 0, bytes: own_bytes() },
            };
            rendering.looks += 1;
            let fault = if rendering.since.elapsed() > MOST_TIME {
                Some(format!("takes longer than {} s", MOST_TIME.as_secs()))
            } else if rendering.looks > LOOKS && own_bytes() > rendering.bytes.saturating_add(MOST_BYTES) {
                Some(format!("takes more than {} GiB of memory", MOST_BYTES >> 30))
            } else {
                None
            };
            let subject = slot.subject.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let (Some(fault), Some(subject), Some((end, _))) = (fault, subject, ENDING.get())
                // It may have ended while it was looked at.
                && slot.number.load(Ordering::Acquire) == number
            {
                end(&format!("{} {fault}", subject.name), HINT);
            }
            still.insert(place, rendering);
        }
        seen = still;
        idle = if seen.is_empty() { idle + 1 } else { 0 };
        if idle > 100 {
            ASLEEP.store(true, Ordering::Release);
            park();
            idle = 0;
        }
    }
}

/// Without the kernel's account nothing seems to grow, and only time is watched.
fn own_bytes() -> u64 {
    machine::anonymous_bytes().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_engine_is_an_error() {
        let subject = Subject::new("the template");
        assert_eq!(watched(&subject, || 1), Ok(1));
        assert!(watched(&subject, || std::hint::black_box(None::<u8>).unwrap()).unwrap_err().contains("None"));
        assert_eq!(last_words(), None);
    }
}
