//! Maps of files that another process shortens: a fault is noted, and the run ends with an error.
//!
//! Reading a mapped page that is no longer in its file raises SIGBUS, which would end the process
//! without a message and without cleaning up. The handler here puts a page of zeros in the place,
//! marks the map, and lets the reader go on; whoever owns the map asks for the mark before it
//! publishes anything ([`MappedFile::unchanged`](super::mapped::MappedFile::unchanged)), and the
//! program asks once more before it reports success ([`first`]). Every other SIGBUS goes to the handler
//! that was there before.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Maps that can be watched at once. The table is zeroed memory: slots that are never used cost nothing.
const SLOTS: usize = 16_384;

/// Start of a slot that is being filled in.
const CLAIMED: usize = 1;

struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    lost: AtomicBool,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), lost: AtomicBool::new(false) } }; SLOTS];

/// One past the highest slot that was ever used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Whether any map lost a page.
static ANY: AtomicBool = AtomicBool::new(false);

static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// The handler that was there before; `None` when ours could not be installed.
static BEFORE: OnceLock<Option<libc::sigaction>> = OnceLock::new();

static FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A map's place in the table.
#[derive(Debug)]
pub(super) struct Watch {
    slot: Option<usize>,
}

impl Watch {
    /// Watches a mapped range.
    pub(super) fn new(bytes: &[u8]) -> Self {
        if bytes.is_empty() || BEFORE.get_or_init(install).is_none() {
            return Self { slot: None };
        }
        let start = bytes.as_ptr() as usize;
        let free = |slot: &Slot| slot.start.compare_exchange(0, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = TABLE.iter().position(free);
        if let Some(index) = slot {
            let slot = &TABLE[index];
            slot.lost.store(false, Ordering::Relaxed);
            slot.end.store(start + bytes.len(), Ordering::Relaxed);
            USED.fetch_max(index + 1, Ordering::AcqRel);
            slot.start.store(start, Ordering::Release);
        }
        Self { slot }
    }

    /// Whether a page of the map was not in the file any more.
    pub(super) fn lost(&self) -> bool {
        self.slot.is_some_and(|index| TABLE[index].lost.load(Ordering::Acquire))
    }

    /// Ends the watch, before the memory is unmapped; `path` is the file that was mapped.
    pub(super) fn end(&mut self, path: &Path) {
        if self.lost() {
            FILES.lock().unwrap_or_else(PoisonError::into_inner).push(path.into());
        }
        if let Some(index) = self.slot.take() {
            TABLE[index].start.store(0, Ordering::Release);
        }
    }
}

/// Whether any mapped file was found shortened. Cheap enough to ask for every chunk.
#[must_use]
pub(crate) fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// The first file that was found shortened, of maps that are closed.
#[must_use]
pub(crate) fn first() -> Option<PathBuf> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
}

fn install() -> Option<libc::sigaction> {
    PAGE.store(rustix::param::page_size(), Ordering::Relaxed);
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
    // SAFETY: a zeroed `sigaction` is one with an empty mask; both structures live across the call. The handler does
    // only what a signal handler may: atomics, `mmap` and `sigaction`.
    unsafe {
        let mut ours: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        ours.sa_sigaction = handler as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut ours.sa_mask);
        (libc::sigaction(libc::SIGBUS, &raw const ours, &raw mut before) == 0).then_some(before)
    }
}

extern "C" fn on_bus_error(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid structure to handlers installed with SA_SIGINFO; SIGBUS has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    let used = USED.load(Ordering::Acquire).min(SLOTS);
    for slot in &TABLE[..used] {
        let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Relaxed));
        if start <= CLAIMED || !(start..end).contains(&address) {
            continue;
        }
        slot.lost.store(true, Ordering::Release);
        ANY.store(true, Ordering::Relaxed);
        let page = PAGE.load(Ordering::Relaxed);
        let from = address / page * page;
        let length = end.next_multiple_of(page) - from;
        // Everything after the fault is beyond the end of the file too: one map of zeros for all of it.
        // SAFETY: the range lies in a private, read-only map that its owner unmaps as a whole and later; the pages
        // replaced could not be read.
        let zeros = unsafe {
            libc::mmap(
                from as *mut libc::c_void,
                length,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if zeros != libc::MAP_FAILED {
            return;
        }
    }
    // Not one of our maps: the instruction faults again, under the handler that was there before.
    if let Some(Some(before)) = BEFORE.get() {
        // SAFETY: restores what `install` was given.
        unsafe { libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut()) };
    }
}
