//! Hidden files and folders that outputs are prepared in, and what killed runs leave of them.
//!
//! They are called `.NAME.billon-PID-N`, are made under names that did not exist, and are locked as long as their owner
//! lives. A sweep looks only at this exact pattern, takes the lock first and then checks that the path is still what it
//! has locked; it opens no symbolic link, FIFO or device.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use super::file_name::shortened;
use super::write_error::{WriteError, failed};

/// Most names that are tried: each is taken only by a process of the same number.
const ATTEMPTS: u32 = 1000;

/// The `NAME` of `.NAME.billon-PID` or `.NAME.billon-PID-N`; `None` for any other name.
pub(super) fn staged_stem(name: &OsStr) -> Option<&str> {
    let (stem, tail) = name.to_str()?.strip_prefix('.')?.rsplit_once(".billon-")?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let fits = match tail.split_once('-') {
        Some((process, attempt)) => number(process) && number(attempt),
        // Files of version 0.1 have no attempt.
        None => number(tail),
    };
    (fits && !stem.is_empty()).then_some(stem)
}

/// Whether a name is one that this process prepares something under.
pub(super) fn is_of_this_process(name: &OsStr) -> bool {
    let process = format!(".billon-{}-", std::process::id());
    staged_stem(name).is_some() && name.to_str().is_some_and(|name| name.contains(&process))
}

/// Stem of an output's name within the pattern.
pub(super) fn stem_of(name: &OsStr) -> String {
    shortened(&name.to_string_lossy())
}

fn candidate(folder: &Path, stem: &str, attempt: u32) -> PathBuf {
    folder.join(format!(".{stem}.billon-{}-{attempt}", std::process::id()))
}

/// A new folder `.STEM.billon-PID-N`, locked. File systems without locks only lose the sweeping of leftovers.
pub(super) fn create_folder(folder: &Path, stem: &str) -> Result<(PathBuf, File), WriteError> {
    let mut attempt = 0;
    loop {
        let path = candidate(folder, stem, attempt);
        attempt += 1;
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => continue,
            Err(error) => return Err(failed(&path)(error)),
        }
        // A sweep may come between making and locking: whoever has the lock first has the folder.
        if let Ok(lock) = open(&path, OFlags::DIRECTORY)
            && lock_now(&lock) != Lock::Taken
            && is_at(&lock, &path)
        {
            return Ok((path, lock));
        }
        if attempt == ATTEMPTS {
            return Err(failed(&path)(io::Error::from(io::ErrorKind::ResourceBusy)));
        }
    }
}

/// A new file `.STEM.billon-PID-N`, locked and open for writing.
pub(super) fn create_file(folder: &Path, stem: &str) -> Result<(PathBuf, File), WriteError> {
    let mut attempt = 0;
    loop {
        let path = candidate(folder, stem, attempt);
        attempt += 1;
        // `create_new` is O_EXCL: a planted link or file of that name is passed over.
        let file = match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => continue,
            Err(error) => return Err(failed(&path)(error)),
        };
        if lock_now(&file) != Lock::Taken && is_at(&file, &path) {
            return Ok((path, file));
        }
        if attempt == ATTEMPTS {
            return Err(failed(&path)(io::Error::from(io::ErrorKind::ResourceBusy)));
        }
    }
}

/// Removes what dead runs left in a folder under stems that `is_ours` knows. `before` sees each folder first.
pub(super) fn sweep_with(folder: &Path, is_ours: impl Fn(&str) -> bool, before: impl Fn(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        if !staged_stem(&entry.file_name()).is_some_and(&is_ours) {
            continue;
        }
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        // What can't be removed stays for the next run.
        if kind.is_dir() {
            if let Some(_lock) = locked(&path, OFlags::DIRECTORY) {
                before(&path);
                let _ = fs::remove_dir_all(&path);
            }
        } else if kind.is_file()
            && let Some(_lock) = locked(&path, OFlags::empty())
        {
            let _ = fs::remove_file(&path);
        }
    }
}

/// [`sweep_with`] for leftovers that need no look.
pub(super) fn sweep(folder: &Path, is_ours: impl Fn(&str) -> bool) {
    sweep_with(folder, is_ours, |_| ());
}

/// The lock of a path whose owner has ended.
fn locked(path: &Path, kind: OFlags) -> Option<File> {
    let file = open(path, kind).ok()?;
    (lock_now(&file) == Lock::Ours && is_at(&file, path)).then_some(file)
}

/// The lock of a folder, where it can be had.
pub(super) fn lock_folder(path: &Path) -> Option<File> {
    locked(path, OFlags::DIRECTORY)
}

/// Opens a path itself for reading: never through a link, never waiting for the other end of a FIFO.
pub(super) fn open(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | more;
    File::options().read(true).custom_flags(flags.bits() as i32).open(path)
}

/// Reads a regular file, at most `most` bytes of it.
pub(super) fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let file = open(path, OFlags::empty())?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Debug, PartialEq, Eq)]
enum Lock {
    Ours,
    Taken,
    Unsupported,
}

fn lock_now(file: &File) -> Lock {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Lock::Ours,
        Err(rustix::io::Errno::WOULDBLOCK) => Lock::Taken,
        Err(_) => Lock::Unsupported,
    }
}

/// Whether a path still names the open file.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_pattern_is_a_leftover() {
        for (name, stem) in [
            (".out.billon-12-0", Some("out")),
            (".out.billon-12", Some("out")),
            (".a.billon-1-2.billon-3-4", Some("a.billon-1-2")),
            (".out.billon-notes", None),
            (".out.billon-", None),
            (".out.billon-12-", None),
            (".out.billon-12-0.bak", None),
            (".out.billon--1", None),
            ("out.billon-12-0", None),
            ("..billon-12-0", None),
        ] {
            assert_eq!(staged_stem(OsStr::new(name)), stem, "{name}");
        }
    }

    #[test]
    fn a_sweep_removes_the_dead_and_spares_living_links_and_fifos() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (living, _lock) = create_folder(dir.path(), "out").unwrap();
        let (file, _file_lock) = create_file(dir.path(), "out").unwrap();
        fs::create_dir(path(".out.billon-1-0")).unwrap();
        fs::write(path(".out.billon-2"), "half").unwrap();
        fs::create_dir(path(".other.billon-1-0")).unwrap();
        fs::create_dir(path(".out.billon-notes")).unwrap();
        fs::create_dir(path("kept")).unwrap();
        std::os::unix::fs::symlink(path("kept"), path(".out.billon-3-0")).unwrap();
        let fifo = path(".out.billon-4-0");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        sweep(dir.path(), |stem| stem == "out");
        assert!(!path(".out.billon-1-0").exists() && !path(".out.billon-2").exists());
        for spared in [&living, &file, &fifo, &path(".other.billon-1-0"), &path(".out.billon-notes"), &path("kept")] {
            assert!(spared.exists(), "{}", spared.display());
        }
        assert!(fs::symlink_metadata(path(".out.billon-3-0")).is_ok());
    }

    /// A folder that is swept between its making and its locking is made again under the next name.
    #[test]
    fn a_planted_name_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let planted = candidate(dir.path(), "out", 0);
        std::os::unix::fs::symlink(dir.path().join("victim"), &planted).unwrap();
        let (path, _) = create_file(dir.path(), "out").unwrap();
        assert_eq!(path, candidate(dir.path(), "out", 1));
        assert!(!dir.path().join("victim").exists());
    }
}
