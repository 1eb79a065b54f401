//! Digests of whole files, by all threads.
//!
//! BLAKE3 is taken of every file by all threads at once, SHA-256 of each file by one.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::hash::{Digest, HashAlgorithm, sha256_file};
use super::hash_tree::HashTree;
use crate::event::CancelFlag;
use crate::parallel::Pool;

/// Bytes of a file that a thread takes at a time.
const PIECE: u64 = 4 << 20;

/// Bytes that are read at a time: they stay in the second-level cache until they are hashed.
const STEP: usize = 256 << 10;

/// What is known of a file's digest.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// The tree of what was read so far.
    Blake3(HashTree),
    /// Nothing: it is one stream.
    Sha256,
}

/// A file that is being hashed.
struct Hashing {
    path: PathBuf,
    unfinished: Unfinished,
    sha256: OnceLock<String>,
    failure: Mutex<Option<io::Error>>,
}

/// The digest of a file; `Ok(None)` when the run was cancelled before it was finished.
///
/// # Errors
/// What the operating system says.
pub(crate) fn digest(
    pool: &Pool,
    path: &Path,
    algorithm: HashAlgorithm,
    cancel: &CancelFlag,
) -> io::Result<Option<Digest>> {
    let unfinished = match algorithm {
        HashAlgorithm::Blake3 => Unfinished::Blake3(HashTree::new(std::fs::metadata(path)?.len())),
        HashAlgorithm::Sha256 => Unfinished::Sha256,
    };
    finish_digests(pool, vec![(path.into(), unfinished)], cancel).pop().expect("every file has a result")
}

/// Reads what is left of each file; its digest, in order, or `Ok(None)` when the run was cancelled before.
pub(crate) fn finish_digests(
    pool: &Pool,
    files: Vec<(PathBuf, Unfinished)>,
    cancel: &CancelFlag,
) -> Vec<io::Result<Option<Digest>>> {
    let mut pieces: Vec<(usize, Range<u64>)> = Vec::new();
    for (number, (_, unfinished)) in files.iter().enumerate() {
        match unfinished {
            Unfinished::Blake3(tree) => {
                for Range { start, end } in tree.rest() {
                    let starts = (start..end).step_by(PIECE as usize);
                    pieces.extend(starts.map(|start| (number, start..(start + PIECE).min(end))));
                }
            }
            Unfinished::Sha256 => pieces.push((number, 0..u64::MAX)),
        }
    }
    let hashing = files.into_iter().map(|(path, unfinished)| Hashing {
        path,
        unfinished,
        sha256: OnceLock::new(),
        failure: Mutex::default(),
    });
    let hashing: Vec<Hashing> = hashing.collect();
    let next = AtomicUsize::new(0);
    pool.broadcast(|| {
        let mut buffer = Vec::new();
        while let Some((number, range)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            if cancel.is_cancelled() {
                return;
            }
            hashing[*number].take(range, &mut buffer, cancel);
        }
    });
    hashing.into_iter().map(|file| file.finish(cancel)).collect()
}

impl Hashing {
    /// Hashes a piece; after a failure there is nothing left to do.
    fn take(&self, range: &Range<u64>, buffer: &mut Vec<u8>, cancel: &CancelFlag) {
        if self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let result = match &self.unfinished {
            Unfinished::Blake3(tree) => crate::storage::input::open(&self.path).and_then(|file| {
                buffer.resize(STEP, 0);
                hash_range(&file, range, tree, buffer)
            }),
            Unfinished::Sha256 => sha256_file(&self.path, cancel).map(|found| {
                if let Some(found) = found {
                    self.sha256.get_or_init(|| found);
                }
            }),
        };
        if let Err(error) = result {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    fn finish(self, cancel: &CancelFlag) -> io::Result<Option<Digest>> {
        if let Some(error) = self.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        match self.unfinished {
            Unfinished::Blake3(tree) => match tree.finish() {
                Ok(hash) => Ok(Some(Digest::blake3(hash))),
                Err(_) if cancel.is_cancelled() => Ok(None),
                Err(read) => Err(io::Error::other(format!("{read} of its bytes were hashed"))),
            },
            Unfinished::Sha256 => match self.sha256.into_inner() {
                Some(hex) => Ok(Some(Digest { algorithm: HashAlgorithm::Sha256, hex })),
                None if cancel.is_cancelled() => Ok(None),
                None => Err(io::Error::other("it was not hashed")),
            },
        }
    }
}

fn hash_range(file: &File, range: &Range<u64>, tree: &HashTree, buffer: &mut [u8]) -> io::Result<()> {
    let mut start = range.start;
    while start < range.end {
        let length = usize::try_from(range.end - start).map_or(buffer.len(), |left| left.min(buffer.len()));
        let piece = &mut buffer[..length];
        file.read_exact_at(piece, start)?;
        // Pieces begin and end with leaves, so that nothing is read twice.
        tree.add(start, piece, |offset, leaf| file.read_exact_at(leaf, offset))?;
        start += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::Workers;

    #[test]
    fn files_of_any_size_have_the_digests_of_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> =
            (0..2 * PIECE as u32 + 12_345).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let sizes = [0, 1, 1024, STEP - 1, STEP, PIECE as usize, PIECE as usize + 1, bytes.len()];
        let paths: Vec<_> = sizes.iter().map(|size| dir.path().join(size.to_string())).collect();
        for (path, size) in paths.iter().zip(sizes) {
            std::fs::write(path, &bytes[..size]).unwrap();
        }
        for threads in [1, 3] {
            let pool = Workers::new(threads).pool("hash").unwrap();
            for algorithm in [HashAlgorithm::Blake3, HashAlgorithm::Sha256] {
                for (path, size) in paths.iter().zip(sizes) {
                    let found = digest(&pool, path, algorithm, &CancelFlag::new()).unwrap();
                    assert_eq!(found, Some(Digest::of(algorithm, &bytes[..size])), "{size} bytes");
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_missing_is_told_and_a_cancelled_run_has_no_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"abc").unwrap();
        let pool = Workers::new(2).pool("hash").unwrap();
        for algorithm in [HashAlgorithm::Blake3, HashAlgorithm::Sha256] {
            let none = CancelFlag::new();
            let missing = digest(&pool, &dir.path().join("missing"), algorithm, &none).unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
            assert_eq!(digest(&pool, &path, algorithm, &none).unwrap(), Some(Digest::of(algorithm, b"abc")));
            // One that is shorter than it was.
            let longer = Unfinished::Blake3(HashTree::new(5));
            let found = finish_digests(&pool, vec![(path.clone(), longer)], &none).pop().unwrap();
            assert_eq!(found.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            let cancel = CancelFlag::new();
            cancel.cancel();
            assert_eq!(digest(&pool, &path, algorithm, &cancel).unwrap(), None);
        }
    }
}
