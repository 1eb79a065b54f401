//! Whether an input is still the file that was opened.
//!
//! Weights are mapped and hashed while a run goes on for minutes. A file that another process writes
//! to meanwhile gives data of two versions and a hash that belongs to neither, so a stamp is taken
//! when a file is opened and compared before anything is published.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Diagnose, ErrorKind};

/// Device, inode, size and times of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// The stamp of an open file.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn of_file(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::new(&metadata))
    }

    /// The stamp of the file at a path, links followed.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::new(&metadata))
    }

    fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Compares with the file that is at the path now.
    ///
    /// # Errors
    /// [`InputChanged`] saying what differs.
    pub(crate) fn check(&self, path: &Path) -> Result<(), InputChanged> {
        let changed = |what: String| Err(InputChanged { path: path.into(), what });
        let now = match Self::of(path) {
            Ok(now) => now,
            Err(error) => return changed(format!("it cannot be found again ({error})")),
        };
        if (now.device, now.inode) != (self.device, self.inode) {
            return changed("another file took its place".to_owned());
        }
        if now.size != self.size {
            return changed(format!("it had {} bytes at the start and has {} now", self.size, now.size));
        }
        if now.modified != self.modified {
            return changed("it was written to".to_owned());
        }
        if now.changed != self.changed {
            return changed("its status changed (ctime)".to_owned());
        }
        Ok(())
    }
}

/// Stamps of files that are read without being mapped.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileStamps(Vec<(PathBuf, FileStamp)>);

impl FileStamps {
    /// Stamps a file, before it is read. One that cannot be looked at is left to whoever reads it.
    pub(crate) fn take(&mut self, path: &Path) {
        if let Ok(stamp) = FileStamp::of(path) {
            self.0.push((path.into(), stamp));
        }
    }

    /// Compares every file with its stamp.
    ///
    /// # Errors
    /// The first [`InputChanged`].
    pub(crate) fn check(&self) -> Result<(), InputChanged> {
        self.0.iter().try_for_each(|(path, stamp)| stamp.check(path))
    }
}

/// An input that did not stay as it was.
#[derive(Debug, thiserror::Error)]
#[error("input {} changed while it was being read: {what}", path.display())]
pub struct InputChanged {
    /// The file.
    pub path: PathBuf,
    /// Description of the difference.
    pub what: String,
}

impl Diagnose for InputChanged {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }

    fn hints(&self) -> Vec<String> {
        vec!["run again when no other program writes to it; nothing was published".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        let stamp = FileStamp::of(&path).unwrap();
        assert!(stamp.check(&path).is_ok());
        std::fs::write(&path, b"ab").unwrap();
        let told = |stamp: &FileStamp| stamp.check(&path).unwrap_err().to_string();
        assert!(told(&stamp).contains("had 3 bytes at the start and has 2 now"), "{}", told(&stamp));
        let (other, stamp) = (dir.path().join("g"), FileStamp::of(&path).unwrap());
        std::fs::write(&other, b"ab").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(told(&stamp).contains("another file"));
        let stamp = FileStamp::of(&path).unwrap();
        let earlier = std::time::SystemTime::UNIX_EPOCH;
        File::options().write(true).open(&path).unwrap().set_modified(earlier).unwrap();
        assert!(told(&stamp).contains("written to"));
        std::fs::remove_file(&path).unwrap();
        assert!(told(&stamp).contains("cannot be found"));
    }
}
