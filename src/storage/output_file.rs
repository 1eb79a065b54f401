//! A preallocated file that threads fill in any order.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::hash::{Digest, HashAlgorithm, STEP, hex};
use super::hash_tree::HashTree;
use super::write_error::{WriteError, failed};

/// A preallocated file that any thread writes to at final offsets.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    written: Written,
    /// BLAKE3 of what is written.
    tree: Option<HashTree>,
}

impl OutputFile {
    /// Creates a file of `bytes` bytes, space reserved; fails where the name is taken.
    pub(super) fn create(path: PathBuf, bytes: u64) -> Result<Self, WriteError> {
        let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed(&path))?;
        if bytes > 0 {
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
                Ok(()) => {}
                Err(Errno::NOSPC | Errno::DQUOT) => return Err(WriteError::NoSpace { path, bytes }),
                // File systems without preallocation: space is then found out while writing.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(bytes).map_err(failed(&path))?,
                Err(error) => return Err(failed(&path)(error.into())),
            }
        }
        Ok(Self { path, file, bytes, written: Written::default(), tree: None })
    }

    /// Length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file with its BLAKE3 taken by those who write, before anything is written.
    #[must_use]
    pub fn hashed(self) -> Self {
        Self { tree: Some(HashTree::new(self.bytes)), ..self }
    }

    /// The BLAKE3 of a file that is complete, where it was asked for by [`OutputFile::hashed`].
    ///
    /// # Errors
    /// When a byte of the file was never written, or one was written twice.
    pub fn digest(&self) -> Result<Option<Digest>, WriteError> {
        let Some(tree) = &self.tree else { return Ok(None) };
        let hash = tree.finish().map_err(|written| {
            let bytes = self.bytes;
            let message = format!("{written} bytes were written into {bytes}, some of them twice or never");
            failed(&self.path)(std::io::Error::other(message))
        })?;
        Ok(Some(Digest::blake3(hash)))
    }

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.file.write_all_at(bytes, offset).map_err(failed(&self.path))?;
        self.written.add(offset, offset + bytes.len() as u64);
        match &self.tree {
            // By the thread that has the bytes in its cache.
            Some(tree) => tree.add(offset, bytes, |offset, buffer| self.read_at(offset, buffer)),
            None => Ok(()),
        }
    }

    /// Waits until every byte before some position past `position` is written and returns that
    /// position; `None` once [`OutputFile::abandon`] was called.
    #[must_use]
    pub fn wait_beyond(&self, position: u64) -> Option<u64> {
        self.written.wait_beyond(position)
    }

    /// Wakes waiters of a file that will not be completed.
    pub fn abandon(&self) {
        self.written.abandon();
    }

    /// Reads back bytes that were written.
    ///
    /// # Errors
    /// I/O errors.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), WriteError> {
        self.file.read_exact_at(buffer, offset).map_err(failed(&self.path))
    }

    /// Syncs the completed prefix again and again while other threads write, so that the disk works
    /// from the start and [`OutputFile::sync`] has little left to wait for. Returns when the file is
    /// complete or abandoned.
    ///
    /// # Errors
    /// I/O errors.
    pub fn sync_while_written(&self) -> Result<(), WriteError> {
        /// Bytes between two syncs.
        const STEP: u64 = 64 << 20;
        let mut position = 0;
        while position < self.bytes {
            let target = (position + STEP).min(self.bytes);
            let Some(reached) = self.wait_beyond(target - 1) else { return Ok(()) };
            self.sync()?;
            position = reached;
        }
        Ok(())
    }

    /// SHA-256 while other threads write: follows the completed prefix, so that the digest is ready when the last byte
    /// is. `Ok(None)` when the file is abandoned.
    ///
    /// # Errors
    /// When a written byte can't be read back.
    pub fn sha256_while_written(&self) -> Result<Option<Digest>, WriteError> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; STEP];
        let mut position = 0;
        while position < self.bytes {
            let Some(end) = self.wait_beyond(position) else { return Ok(None) };
            while position < end {
                let step = usize::try_from(end - position).map_or(STEP, |n| n.min(STEP));
                let piece = &mut buffer[..step];
                self.read_at(position, piece)?;
                hasher.update(&*piece);
                position += step as u64;
            }
        }
        Ok(Some(Digest { algorithm: HashAlgorithm::Sha256, hex: hex(&hasher.finalize()) }))
    }

    /// Puts everything written so far on stable storage.
    ///
    /// # Errors
    /// I/O errors.
    pub fn sync(&self) -> Result<(), WriteError> {
        self.file.sync_data().map_err(failed(&self.path))
    }
}

/// The contiguous prefix of a file that is complete, fed by writes in any order.
#[derive(Debug, Default)]
struct Written {
    state: Mutex<WrittenState>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct WrittenState {
    prefix: u64,
    /// Start to end of pieces beyond the prefix.
    pending: BTreeMap<u64, u64>,
    abandoned: bool,
}

impl Written {
    fn add(&self, start: u64, end: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending.insert(start, end);
        let before = state.prefix;
        while let Some(end) = state.pending.first_key_value().filter(|p| *p.0 <= state.prefix).map(|p| *p.1) {
            state.pending.pop_first();
            state.prefix = state.prefix.max(end);
        }
        if state.prefix > before {
            self.grown.notify_all();
        }
    }

    fn wait_beyond(&self, position: u64) -> Option<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self
            .grown
            .wait_while(state, |s| s.prefix <= position && !s.abandoned)
            .unwrap_or_else(PoisonError::into_inner);
        (state.prefix > position).then_some(state.prefix)
    }

    fn abandon(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).abandoned = true;
        self.grown.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_digests_are_those_of_the_bytes_whatever_the_order() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..100_003_u32).map(|i| (i * 7 + i / 256) as u8).collect();
        let file = OutputFile::create(dir.path().join("file"), bytes.len() as u64).unwrap().hashed();
        let pieces: Vec<(usize, &[u8])> = bytes.chunks(9001).enumerate().collect();
        for &(number, piece) in pieces.iter().rev() {
            assert!(file.digest().is_err(), "a digest of bytes that are not there");
            file.write_at(number as u64 * 9001, piece).unwrap();
        }
        assert_eq!(file.digest().unwrap(), Some(Digest::of(HashAlgorithm::Blake3, &bytes)));
        assert_eq!(file.sha256_while_written().unwrap(), Some(Digest::of(HashAlgorithm::Sha256, &bytes)));
        file.write_at(0, &bytes[..1]).unwrap();
        assert!(file.digest().is_err(), "a byte was written twice");
        let plain = OutputFile::create(dir.path().join("plain"), 0).unwrap();
        assert_eq!(plain.digest().unwrap(), None);
        assert_eq!(plain.hashed().digest().unwrap(), Some(Digest::of(HashAlgorithm::Blake3, b"")));
    }

    #[test]
    fn the_written_prefix_follows_out_of_order_pieces() {
        let written = Written::default();
        written.add(10, 20);
        written.add(0, 10);
        assert_eq!(written.wait_beyond(0), Some(20));
        written.add(30, 40);
        written.abandon();
        assert_eq!(written.wait_beyond(20), None);
    }
}
