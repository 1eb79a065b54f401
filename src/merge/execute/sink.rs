//! Sinks of a merge's finished chunks: output files, which are hashed and synced meanwhile, or memory.

use std::sync::{Mutex, PoisonError};

use crate::checkpoint::layout::OutputTensor;
use crate::error::{Error, Result};
use crate::event::{Event, Progress};
use crate::merge::plan::MergePlan;
use crate::parallel::spawn_scoped;
use crate::storage::hash::{Digest, HashAlgorithm};
use crate::storage::publish::{OutputFile, WriteError};

/// Takes finished chunks, from any thread.
pub(super) trait Sink: Sync {
    /// Takes the bytes of an output tensor from `start` on.
    fn put(&self, output: usize, start: u64, bytes: &[u8]) -> Result<()>;
}

/// Into output files.
pub(super) struct Shards<'a> {
    pub(super) plan: &'a MergePlan,
    pub(super) files: &'a [OutputFile],
}

impl Sink for Shards<'_> {
    fn put(&self, output: usize, start: u64, bytes: &[u8]) -> Result<()> {
        let (shard, offset) = self.plan.layout.places[output];
        Ok(self.files[shard].write_at(offset + start, bytes)?)
    }
}

/// Writes all bytes of files with `write`, and syncs them; what it gives, and the digests of the files, if any are taken:
/// BLAKE3 is there with the last byte, SHA-256 is taken by a thread that follows the writers.
pub(super) fn completed<T>(
    files: &[OutputFile],
    hash: Option<HashAlgorithm>,
    progress: Progress<'_>,
    write: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<Digest>)> {
    std::thread::scope(|scope| {
        let hasher = (hash == Some(HashAlgorithm::Sha256)).then(|| {
            let follow = || -> Result<Vec<Digest>, WriteError> {
                let mut digests = Vec::new();
                for file in files {
                    digests.extend(file.sha256_while_written()?);
                }
                Ok(digests)
            };
            // Without a thread for it, the same after the last byte.
            spawn_scoped(scope, follow).map_or(Hashing::After(follow), Hashing::Beside)
        });
        // A failed early sync is reported by the last one, and done by it where there is no thread.
        let _ = spawn_scoped(scope, || files.iter().try_for_each(OutputFile::sync_while_written));
        let mut result = {
            let _wake = WakeFollowers(files);
            write()
        };
        if result.is_ok() {
            progress.event(Event::Syncing);
            result = result.and_then(|r| files.iter().try_for_each(OutputFile::sync).map(|()| r).map_err(Error::from));
        }
        let followed = match hasher {
            Some(Hashing::Beside(thread)) => match thread.join() {
                Ok(digests) => digests,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Some(Hashing::After(follow)) if result.is_ok() => follow(),
            Some(Hashing::After(_)) | None => Ok(Vec::new()),
        };
        let result = result?;
        let mut shard_digests = followed?;
        for file in files {
            shard_digests.extend(file.digest()?);
        }
        Ok((result, shard_digests))
    })
}

/// SHA-256 of the output: on a thread that follows what is written, or when all is written.
enum Hashing<'scope, F> {
    Beside(std::thread::ScopedJoinHandle<'scope, Result<Vec<Digest>, WriteError>>),
    After(F),
}

/// When the map pass is over, one way or the other (a panic included), nobody may wait for bytes
/// that will not come. Files that are complete by then are not touched by it.
struct WakeFollowers<'a>(&'a [OutputFile]);

impl Drop for WakeFollowers<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(OutputFile::abandon);
    }
}

/// Into memory, one buffer for each output tensor.
pub(super) struct Buffers(Vec<Mutex<Vec<u8>>>);

impl Buffers {
    pub(super) fn new(outputs: &[OutputTensor]) -> Self {
        let size = |output: &OutputTensor| usize::try_from(output.bytes()).expect("a tensor in memory fits an address");
        Self(outputs.iter().map(|output| Mutex::new(vec![0; size(output)])).collect())
    }

    pub(super) fn into_bytes(self) -> Vec<Vec<u8>> {
        self.0.into_iter().map(|buffer| buffer.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}

impl Sink for Buffers {
    fn put(&self, output: usize, start: u64, bytes: &[u8]) -> Result<()> {
        let mut buffer = self.0[output].lock().unwrap_or_else(PoisonError::into_inner);
        buffer[start as usize..start as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}
