//! Digests of a merge's inputs, taken while the merge reads them.
//!
//! The worker that has a chunk of an input in its cache adds it to the file's BLAKE3 tree, so that a model that does not
//! fit the page cache is read once. What no tensor of the plan has read (headers, small files, tensors that are left
//! out) is hashed at the end, by all threads, and so is everything where SHA-256 is asked for. Digests of files that
//! have not changed since an earlier run are remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::checkpoint::Tensor;
use crate::error::{Cancelled, Result};
use crate::event::{Event, Progress};
use crate::merge::plan::{MergePlan, TensorJob};
use crate::parallel::Workers;
use crate::storage::file_digests::{Unfinished, finish_digests};
use crate::storage::hash::{Digest, FileState, HashAlgorithm, HashCache};
use crate::storage::hash_tree::HashTree;
use crate::storage::mapped::MappedFile;
use crate::storage::publish::WriteError;
use crate::storage::unchanged::FileStamps;

/// Digests of a merge's input files, known or under way.
#[derive(Debug)]
pub(crate) struct InputDigests {
    algorithm: HashAlgorithm,
    cache: HashCache,
    /// Size and remembered digest.
    known: BTreeMap<PathBuf, (u64, String)>,
    unknown: BTreeMap<PathBuf, Unknown>,
    /// Of the unknown files: what is hashed is what was opened.
    stamps: FileStamps,
}

/// A file whose digest is not remembered.
#[derive(Debug)]
struct Unknown {
    bytes: u64,
    /// Before anything was read.
    state: Option<FileState>,
    tree: HashTree,
    /// First bytes of the tensors that are added to the tree, each by one job.
    taken: Mutex<BTreeSet<u64>>,
}

impl InputDigests {
    /// Looks up what is remembered, and says how much is not.
    ///
    /// # Errors
    /// What the operating system says of a file.
    pub(crate) fn begin(
        paths: impl IntoIterator<Item = PathBuf>,
        algorithm: HashAlgorithm,
        progress: Progress<'_>,
    ) -> Result<Self> {
        let cache = HashCache::open_default();
        if let Some(warning) = cache.warning() {
            progress.warn(warning);
        }
        let (mut known, mut unknown, mut stamps) = (BTreeMap::new(), BTreeMap::new(), FileStamps::default());
        for path in paths.into_iter().collect::<BTreeSet<_>>() {
            let bytes = std::fs::metadata(&path).map_err(|source| WriteError::Io { path: path.clone(), source })?.len();
            if let Some(digest) = cache.get(&path, algorithm) {
                known.insert(path, (bytes, digest.to_owned()));
                continue;
            }
            stamps.take(&path);
            let state = FileState::of(&path);
            unknown.insert(path, Unknown { bytes, state, tree: HashTree::new(bytes), taken: Mutex::default() });
        }
        if !unknown.is_empty() {
            progress.event(Event::HashingInputs { bytes: unknown.values().map(|file| file.bytes).sum() });
        }
        Ok(Self { algorithm, cache, known, unknown, stamps })
    }

    /// Hashes what is left, and remembers it; size and digest of every file.
    ///
    /// # Errors
    /// Read errors, an input that changed meanwhile, or [`Cancelled`].
    pub(crate) fn finish(self, workers: Workers, progress: Progress<'_>) -> Result<BTreeMap<PathBuf, (u64, Digest)>> {
        let Self { algorithm, mut cache, known, unknown, stamps } = self;
        let digest = |hex| Digest { algorithm, hex };
        let mut digests: BTreeMap<PathBuf, (u64, Digest)> =
            known.into_iter().map(|(path, (bytes, hex))| (path, (bytes, digest(hex)))).collect();
        if unknown.is_empty() {
            return Ok(digests);
        }
        let mut files = Vec::with_capacity(unknown.len());
        let mut states = Vec::with_capacity(unknown.len());
        for (path, file) in unknown {
            let unfinished = match algorithm {
                HashAlgorithm::Blake3 => Unfinished::Blake3(file.tree),
                HashAlgorithm::Sha256 => Unfinished::Sha256,
            };
            files.push((path.clone(), unfinished));
            states.push((path, file.bytes, file.state));
        }
        let found = finish_digests(&workers.pool("hash")?, files, progress.cancel);
        let mut fresh = Vec::new();
        for ((path, bytes, state), digest) in states.into_iter().zip(found) {
            let digest = digest.map_err(|source| WriteError::Io { path: path.clone(), source })?.ok_or(Cancelled)?;
            let same = state.filter(|state| FileState::of(&path).as_ref() == Some(state));
            fresh.extend(same.map(|state| (state, digest.hex.clone())));
            digests.insert(path, (bytes, digest));
        }
        stamps.check()?;
        cache.remember(algorithm, &fresh);
        Ok(digests)
    }
}

/// The inputs of a batch that are added to their files' trees while they are read: by job, then by input.
pub(super) struct Readings<'a>(Vec<Vec<Option<Reading<'a>>>>);

struct Reading<'a> {
    file: &'a MappedFile,
    tree: &'a HashTree,
    tensor: &'a Tensor,
}

impl<'a> Readings<'a> {
    /// What a batch is the first to read of each file.
    pub(super) fn of(digests: Option<&'a InputDigests>, plan: &'a MergePlan, batch: &[&'a TensorJob]) -> Self {
        let unread = |job: &&'a TensorJob| match digests {
            Some(digests) if digests.algorithm == HashAlgorithm::Blake3 => {
                job.inputs.iter().map(|input| digests.reading(plan, input.model, &input.tensor)).collect()
            }
            _ => Vec::new(),
        };
        Self(batch.iter().map(unread).collect())
    }

    /// Adds a range of elements of a job's inputs.
    pub(super) fn take(&self, job: usize, range: &Range<u64>) {
        for reading in self.0[job].iter().flatten() {
            let width = reading.tensor.dtype.bytes() as u64;
            let start = reading.tensor.range.start + range.start * width;
            let bytes = reading.file.slice(start..reading.tensor.range.start + range.end * width);
            let read = |offset: u64, leaf: &mut [u8]| -> Result<(), Infallible> {
                leaf.copy_from_slice(reading.file.slice(offset..offset + leaf.len() as u64));
                Ok(())
            };
            let Ok(()) = reading.tree.add(start, bytes, read);
        }
    }
}

impl InputDigests {
    /// The place of a tensor's bytes in a tree that nobody has added them to yet.
    fn reading<'a>(&'a self, plan: &'a MergePlan, model: usize, tensor: &'a Tensor) -> Option<Reading<'a>> {
        let file = plan.models[model].dir.as_ref()?.shards().get(tensor.shard)?;
        let unknown = self.unknown.get(file.path())?;
        // A file that is not as long as it was is told by its stamp; a tensor without bytes begins where the next does.
        let usable = file.len() == unknown.bytes && tensor.range.end <= file.len() && !tensor.range.is_empty();
        let first = usable && unknown.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(tensor.range.start);
        first.then_some(Reading { file, tree: &unknown.tree, tensor })
    }
}
