//! A read-only memory map that gives its pages back.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap, UncheckedAdvice};

use super::shortened::Watch;
use super::unchanged::{FileStamp, InputChanged};

/// Bytes around a fault that Linux maps at once.
const FAULT_AROUND: u64 = 64 << 10;

/// Bytes of the largest piece of the page cache that a fault maps.
const LARGEST_FOLIO: u64 = 2 << 20;

/// A mapped file. Pages that were read count as resident memory until [`MappedFile::release`].
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Mmap,
    page: u64,
    stamp: FileStamp,
    watch: Watch,
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // Before the fields are dropped: the range may be mapped anew by someone else right after.
        self.watch.end(&self.path);
    }
}

impl MappedFile {
    /// Maps `path` with sequential read-ahead.
    ///
    /// # Errors
    /// I/O errors when the file can't be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = crate::storage::input::open(path)?;
        let stamp = FileStamp::of_file(&file)?;
        // SAFETY: the map is read-only and private to this value. Another process may write to the file or shorten
        // it meanwhile: pages that are gone read as zeros and are noted by the watch, and `unchanged` tells both, so
        // that such bytes reach no result.
        let map = unsafe { Mmap::map(&file)? };
        if !map.is_empty() {
            // Advice only: a kernel that ignores it is slower, not wrong.
            let _ = map.advise(Advice::Sequential);
        }
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let watch = Watch::new(&map);
        Ok(Self { path: path.into(), map, page, stamp, watch })
    }

    /// Whether the file is still what it was when it was opened: to be asked after the last byte was read, before
    /// anything made of it is published.
    ///
    /// # Errors
    /// [`InputChanged`] naming the file and what is different.
    pub fn unchanged(&self) -> Result<(), InputChanged> {
        if self.watch.lost() {
            let what = "it was shortened".to_owned();
            return Err(InputChanged { path: self.path.clone(), what });
        }
        self.stamp.check(&self.path)
    }

    #[must_use]
    /// Path of the mapped file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The bytes of a range.
    ///
    /// # Panics
    /// When it reaches outside the file, which ranges of a validated header never do.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> &[u8] {
        let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let part = bounds.and_then(|(start, end)| self.map.get(start..end));
        part.expect("ranges of a validated header lie inside the file")
    }

    /// Tells the kernel that the pages of `range` are no longer needed here. The data stay in the
    /// page cache and in the file; reading them again is correct and costs a minor fault.
    ///
    /// The range is widened to whole windows that Linux maps at one fault: a neighbour who reads on in a window has
    /// all of it mapped again, released pages too. With exact ranges, what stayed mapped grew with the file.
    pub fn release(&self, range: Range<u64>) {
        self.release_windows(range, FAULT_AROUND);
    }

    /// [`MappedFile::release`] for a time when nobody reads: a fault may map as much as a large folio of the page
    /// cache, and all of that is given back.
    pub fn release_around(&self, range: Range<u64>) {
        self.release_windows(range, LARGEST_FOLIO);
    }

    fn release_windows(&self, range: Range<u64>, window: u64) {
        let window = window.max(self.page);
        let start = range.start / window * window;
        let end = range.end.div_ceil(window).saturating_mul(window).min(self.len());
        if end <= start {
            return;
        }
        let (Ok(offset), Ok(length)) = (usize::try_from(start), usize::try_from(end - start)) else { return };
        // SAFETY: the map is a shared, read-only mapping of a file, so dropping its pages loses
        // nothing: a later access, from any thread, maps the same file contents again.
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, length) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Reaches both unsafe blocks: map, drop the pages, and read the same bytes again.
    #[test]
    fn released_pages_read_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let data: Vec<u8> = (0..100_000_u32).map(|i| (i * 7) as u8).collect();
        std::fs::write(&path, &data).unwrap();
        let file = MappedFile::open(&path).unwrap();
        for range in [0..100_000_u64, 5000..50_000, 99_999..100_000, 10..20, 0..0] {
            assert_eq!(file.slice(range.clone()), &data[range.start as usize..range.end as usize]);
            file.release(range.clone());
            assert_eq!(file.slice(range.clone()), &data[range.start as usize..range.end as usize]);
        }
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| file.slice(5..200_000).len())).is_err());
    }

    /// Reaches the handler of bus errors: without it the process would end here.
    #[test]
    fn a_file_that_is_shortened_reads_as_zeros_and_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, vec![7_u8; 1 << 20]).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert!(file.unchanged().is_ok());
        File::options().write(true).open(&path).unwrap().set_len(10_000).unwrap();
        assert_eq!(file.bytes()[5_000], 7);
        let sum: u64 = file.bytes()[100_000..].iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(sum, 0);
        assert!(
            file.unchanged().unwrap_err().to_string().contains("data changed while it was being read: it was shor")
        );
        drop(file);
        assert!(super::super::shortened::any() && super::super::shortened::first().is_some());
    }

    #[test]
    fn an_empty_file_maps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("empty");
        std::fs::write(&path, b"").unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert!(file.is_empty());
        file.release(0..10);
    }
}
