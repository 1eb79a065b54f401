//! Publishing a directory whole or not at all.
//!
//! Everything is written into a hidden sibling of the target ([`StagingDir`]), synced, and renamed
//! into place by [`StagingDir::publish`]. A run that fails, is killed or runs out of space leaves
//! the target as it was; what a killed run leaves behind is swept by the next run for the same
//! target. This is the only module that creates or renames files.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fs::{CWD, FallocateFlags, FlockOperation, RenameFlags};
use rustix::io::Errno;

use crate::error::{Diagnose, ErrorKind};

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WriteError {
    #[error("output {} exists and is not empty", target.display())]
    TargetNotEmpty { target: PathBuf },
    #[error("output {} exists and is not a directory", target.display())]
    TargetNotADirectory { target: PathBuf },
    #[error("output {} is one of the inputs", target.display())]
    TargetIsInput { target: PathBuf },
    #[error("output path {} has no final name", target.display())]
    NoName { target: PathBuf },
    #[error("no space left for {} ({bytes} bytes)", path.display())]
    NoSpace { path: PathBuf, bytes: u64 },
    #[error("cannot write {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Diagnose for WriteError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TargetNotEmpty { .. }
            | Self::TargetNotADirectory { .. }
            | Self::TargetIsInput { .. }
            | Self::NoName { .. } => ErrorKind::Usage,
            Self::NoSpace { .. } | Self::Io { .. } => ErrorKind::Io,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::TargetNotEmpty { .. } => {
                vec!["choose another output, or pass --force to replace it once the new one is complete".to_owned()]
            }
            Self::TargetIsInput { .. } => vec!["choose another output directory".to_owned()],
            Self::NoSpace { .. } => {
                vec!["nothing was published; free space or choose an output on another disk".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> WriteError + '_ {
    move |source| {
        if source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded {
            WriteError::NoSpace { path: path.into(), bytes: 0 }
        } else {
            WriteError::Io { path: path.into(), source }
        }
    }
}

/// A directory that does not exist yet for anyone else.
#[derive(Debug)]
pub struct StagingDir {
    target: PathBuf,
    path: PathBuf,
    replace: bool,
    published: bool,
    /// Holds a lock on the directory for as long as it is in use; none for a directory inside
    /// another staging directory.
    _lock: Option<File>,
}

impl StagingDir {
    /// Prepares to publish `target`. With `replace`, a non-empty target is allowed and survives
    /// until the new one is complete.
    ///
    /// # Errors
    /// When the target is not empty (without `replace`) or nothing can be created beside it.
    pub fn create(target: &Path, replace: bool) -> Result<Self, WriteError> {
        let target = check_target(target, replace)?;
        let (parent, name) = split(&target)?;
        fs::create_dir_all(&parent).map_err(failed(&parent))?;
        let prefix = format!(".{name}.billon-");
        sweep(&parent, &prefix);
        let mut attempt = 0;
        let path = loop {
            let path = parent.join(format!("{prefix}{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
                Err(error) => return Err(failed(&path)(error)),
            }
        };
        let lock = File::open(&path).map_err(failed(&path))?;
        // A file system without locks only loses the sweeping of leftovers.
        let _ = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { target, path, replace, published: false, _lock: Some(lock) })
    }

    /// The staging directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it will appear.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// A directory inside this one, which appears and disappears with it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn nested(&self, name: &str) -> Result<Self, WriteError> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(failed(&path))?;
        Ok(Self { target: path.clone(), path, replace: false, published: true, _lock: None })
    }

    /// Writes a small file and syncs it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.path.join(name);
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(failed(&path))
    }

    /// Creates a file of `bytes` bytes, space reserved.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`] when the disk can't hold it.
    pub fn create_file(&self, name: &str, bytes: u64) -> Result<OutputFile, WriteError> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed(&path))?;
        if bytes > 0 {
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
                Ok(()) => {}
                Err(Errno::NOSPC | Errno::DQUOT) => return Err(WriteError::NoSpace { path, bytes }),
                // File systems without preallocation: space is then found out while writing.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(bytes).map_err(failed(&path))?,
                Err(error) => return Err(WriteError::Io { path, source: error.into() }),
            }
        }
        Ok(OutputFile { path, file, bytes, written: Written::default() })
    }

    /// Makes the directory appear under the target's name, in one rename, replacing what is there
    /// if that was allowed.
    ///
    /// # Errors
    /// What the operating system says; the target is then as it was.
    #[expect(clippy::disallowed_methods, reason = "the one place that publishes")]
    pub fn publish(mut self) -> Result<PathBuf, WriteError> {
        sync_dir(&self.path)?;
        let (parent, _) = split(&self.target)?;
        let rename = || -> io::Result<Option<PathBuf>> {
            match fs::rename(&self.path, &self.target) {
                Ok(()) => return Ok(None),
                Err(error) if !self.replace || !self.target.is_dir() => return Err(error),
                Err(_) => {}
            }
            // The target holds files. Swap both names in one step where the kernel can.
            if rustix::fs::renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::EXCHANGE).is_ok() {
                return Ok(Some(self.path.clone()));
            }
            let old = self.path.with_extension("old");
            fs::rename(&self.target, &old)?;
            if let Err(error) = fs::rename(&self.path, &self.target) {
                fs::rename(&old, &self.target)?;
                return Err(error);
            }
            Ok(Some(old))
        };
        let old = rename().map_err(|source| match source.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                WriteError::TargetNotEmpty { target: self.target.clone() }
            }
            _ => WriteError::Io { path: self.target.clone(), source },
        })?;
        self.published = true;
        sync_dir(&parent)?;
        if let Some(old) = old {
            fs::remove_dir_all(&old).map_err(failed(&old))?;
        }
        Ok(self.target.clone())
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done about a failure here; the next run sweeps again.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Whether `target` may be written to, and its real path.
///
/// # Errors
/// [`WriteError::TargetNotEmpty`] without `replace`, [`WriteError::TargetNotADirectory`].
pub fn check_target(target: &Path, replace: bool) -> Result<PathBuf, WriteError> {
    match fs::metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target.into()),
        Err(source) => Err(WriteError::Io { path: target.into(), source }),
        Ok(metadata) if !metadata.is_dir() => Err(WriteError::TargetNotADirectory { target: target.into() }),
        Ok(_) => {
            let mut entries = fs::read_dir(target).map_err(failed(target))?;
            if entries.next().is_some() && !replace {
                return Err(WriteError::TargetNotEmpty { target: target.into() });
            }
            fs::canonicalize(target).map_err(failed(target))
        }
    }
}

/// Publishes one file: written beside the target under a hidden name, synced, and renamed over it, so
/// that a reader sees the old file or the whole new one. Directories are created.
///
/// # Errors
/// What the operating system says; the target is then as it was.
#[expect(clippy::disallowed_methods, reason = "publishing is this module's business")]
pub fn publish_file(target: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let (parent, name) = split(target)?;
    fs::create_dir_all(&parent).map_err(failed(&parent))?;
    let staged = parent.join(format!(".{name}.billon-{}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, target)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&staged);
        failed(target)(error)
    })?;
    sync_dir(&parent)
}

fn split(target: &Path) -> Result<(PathBuf, String), WriteError> {
    let absolute = std::path::absolute(target).map_err(failed(target))?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.into(), name.to_string_lossy().into_owned())),
        _ => Err(WriteError::NoName { target: target.into() }),
    }
}

/// Removes staging directories of this target whose owner is gone.
fn sweep(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let path = entry.path();
        let owned =
            File::open(&path).map(|dir| rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err());
        if matches!(owned, Ok(false)) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn sync_dir(path: &Path) -> Result<(), WriteError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(failed(path))
}

/// A preallocated file that any thread writes to at final offsets.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    written: Written,
}

impl OutputFile {
    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.file.write_all_at(bytes, offset).map_err(failed(&self.path))?;
        self.written.add(offset, offset + bytes.len() as u64);
        Ok(())
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
    /// What the operating system says.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), WriteError> {
        self.file.read_exact_at(buffer, offset).map_err(failed(&self.path))
    }

    /// Syncs the completed prefix again and again while other threads write, so that the disk works
    /// from the start and [`OutputFile::sync`] has little left to wait for. Returns when the file is
    /// complete or abandoned.
    ///
    /// # Errors
    /// What the operating system says.
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

    /// Puts everything written so far on stable storage.
    ///
    /// # Errors
    /// What the operating system says.
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

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn publishes_whole_and_replaces_only_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let staging = StagingDir::create(&target, false).unwrap();
        staging.write("a", b"1").unwrap();
        assert!(!target.exists());
        staging.publish().unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");

        assert!(matches!(StagingDir::create(&target, false), Err(WriteError::TargetNotEmpty { .. })));
        let staging = StagingDir::create(&target, true).unwrap();
        staging.write("b", b"2").unwrap();
        assert_eq!(names(&target), ["a"], "the old one stays until the end");
        staging.publish().unwrap();
        assert_eq!(names(&target), ["b"]);
        assert_eq!(names(dir.path()), ["out"], "nothing is left over");
    }

    #[test]
    fn a_dropped_staging_dir_vanishes_and_a_dead_one_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        drop(StagingDir::create(&target, false).unwrap());
        assert_eq!(names(dir.path()), [""; 0]);
        // A killed run leaves its directory without a lock; a living one keeps its lock.
        fs::create_dir(dir.path().join(".out.billon-1-0")).unwrap();
        let living = StagingDir::create(&target, false).unwrap();
        let second = StagingDir::create(&target, false).unwrap();
        assert!(living.path().exists() && second.path().exists());
        assert!(!dir.path().join(".out.billon-1-0").exists());
    }

    #[test]
    fn an_impossible_size_is_no_space_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let staging = StagingDir::create(&target, false).unwrap();
        let error = staging.create_file("model.safetensors", 1 << 62).unwrap_err();
        assert!(matches!(error, WriteError::NoSpace { .. } | WriteError::Io { .. }), "{error}");
        drop(staging);
        assert_eq!(names(dir.path()), [""; 0]);
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
