//! One process at a time in an output folder that a run comes back to.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::leftovers::is_at;
use super::manifest::FOLDER_LOCK;
use crate::error::{Diagnose, ErrorKind};

/// Reasons why a folder can't be worked in.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum FolderLockError {
    #[error("another run is at work in {}", folder.display())]
    Busy { folder: PathBuf },
    #[error("cannot lock {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl Diagnose for FolderLockError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Io
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Busy { .. } => vec!["wait for it, or give another folder".to_owned()],
            Self::Io { .. } => Vec::new(),
        }
    }
}

/// The right to work in a folder, given back when dropped or when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct FolderLock(#[expect(dead_code, reason = "locked as long as it is open")] File);

impl FolderLock {
    /// Takes it, the folder made if it is not there. File systems without locks let everyone in.
    ///
    /// # Errors
    /// When another process has it, or the folder can't be written.
    pub(crate) fn take(folder: &Path) -> Result<Self, FolderLockError> {
        // The locked file stays when the lock goes: a file that came and went could be locked twice.
        let path = folder.join(FOLDER_LOCK);
        let io = |source| FolderLockError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        loop {
            // Never through a link, never waiting for the reader of a FIFO.
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
            let file = File::options().create(true).append(true).custom_flags(flags).open(&path).map_err(io)?;
            if !file.metadata().map_err(io)?.is_file() {
                return Err(io(std::io::ErrorKind::InvalidInput.into()));
            }
            match file.try_lock() {
                // The folder may have been exchanged since the file was opened.
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) => return Err(FolderLockError::Busy { folder: folder.to_owned() }),
                Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {
                    return Ok(Self(file));
                }
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("deep/out");
        let first = FolderLock::take(&out).unwrap();
        let error = FolderLock::take(&out).unwrap_err();
        assert!(matches!(error, FolderLockError::Busy { .. }), "{error}");
        drop(first);
        FolderLock::take(&out).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(FolderLock::take(&folder.path().join("file")), Err(FolderLockError::Io { .. })));
    }
}
