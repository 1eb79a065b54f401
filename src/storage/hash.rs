//! Digests of files: computed, followed while a file is being written, and remembered for inputs.
//!
//! Reading an input only to hash it takes as long as a merge, so digests of *inputs* are kept in a cache of each
//! algorithm, keyed by device, inode, size and the nanosecond modification and status-change times: a file that was
//! touched in any way is hashed again. `billon verify` never trusts the cache.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use crate::event::CancelFlag;

/// Bytes read at a time.
pub(super) const STEP: usize = 1 << 20;

/// Hash functions of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashAlgorithm {
    /// A tree, so that all threads hash one file.
    Blake3,
    /// What model hubs and other tools compare; one file is one serial stream.
    Sha256,
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blake3 => "BLAKE3",
            Self::Sha256 => "SHA-256",
        })
    }
}

/// Hash of a file with the function that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The function.
    pub algorithm: HashAlgorithm,
    /// Lower-case hexadecimal.
    pub hex: String,
}

impl Digest {
    /// The digest of bytes in memory.
    #[must_use]
    pub(crate) fn of(algorithm: HashAlgorithm, bytes: &[u8]) -> Self {
        let hex = match algorithm {
            HashAlgorithm::Blake3 => hex(blake3::hash(bytes).as_bytes()),
            HashAlgorithm::Sha256 => sha256_bytes(bytes),
        };
        Self { algorithm, hex }
    }

    /// The digest that a finished tree gives.
    #[must_use]
    pub(crate) fn blake3(hash: blake3::Hash) -> Self {
        Self { algorithm: HashAlgorithm::Blake3, hex: hex(hash.as_bytes()) }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.hex)
    }
}

/// Bytes in lower-case hexadecimal.
#[must_use]
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of bytes in memory.
#[must_use]
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of bytes that come in parts.
#[derive(Default)]
pub(crate) struct Sha256Parts(Sha256);

impl Sha256Parts {
    /// Adds the bytes that follow.
    pub(crate) fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// The digest in hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Checksum of a record of a cache: 16 hexadecimal digits. A record whose checksum differs was changed on
/// disk, and is computed again.
#[must_use]
pub(crate) fn checksum(record: &str) -> String {
    hex(&Sha256::digest(record.as_bytes())[..8])
}

/// SHA-256 of a file; `Ok(None)` when cancelled.
///
/// # Errors
/// I/O errors.
pub(crate) fn sha256_file(path: &Path, cancel: &CancelFlag) -> io::Result<Option<String>> {
    let mut file = crate::storage::input::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; STEP];
    loop {
        if cancel.is_cancelled() {
            return Ok(None);
        }
        match file.read(&mut buffer)? {
            0 => return Ok(Some(hex(&hasher.finalize()))),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Identity of a file's contents as far as the file system tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState(String);

impl FileState {
    /// The state now; `None` for a file that is missing, or so young that it could change again
    /// within the clock's granularity unnoticed.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let m = std::fs::metadata(path).ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        if u64::try_from(m.ctime()).is_ok_and(|changed| changed + 2 >= now) {
            return None;
        }
        Some(Self(format!(
            "{} {} {} {}.{:09} {}.{:09}",
            m.dev(),
            m.ino(),
            m.size(),
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec()
        )))
    }
}

/// Remembered digests of input files. A cache that can't be read or written is an empty one.
#[derive(Debug, Default)]
pub struct HashCache {
    blake3: Records,
    sha256: Records,
}

/// Remembered digests of one algorithm.
#[derive(Debug, Default)]
struct Records {
    file: Option<PathBuf>,
    /// State and digest of files, the latest last.
    entries: Vec<(String, String)>,
    /// Lines that are no records.
    damaged: usize,
}

/// Cache directory between runs: `BILLON_CACHE_DIR`, else `XDG_CACHE_HOME/billon`, else
/// `~/.cache/billon`.
#[must_use]
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("BILLON_CACHE_DIR")
        .or_else(|| var("XDG_CACHE_HOME").map(|d| d.join("billon")))
        .or_else(|| var("HOME").map(|d| d.join(".cache/billon")))
}

/// SHA-256 of an input file: remembered, or computed and remembered. `Ok(None)` when cancelled.
///
/// # Errors
/// I/O errors.
pub(crate) fn sha256_input(path: &Path, cache: &mut HashCache, cancel: &CancelFlag) -> io::Result<Option<String>> {
    if let Some(known) = cache.get(path, HashAlgorithm::Sha256) {
        return Ok(Some(known.to_owned()));
    }
    let before = FileState::of(path);
    let Some(hash) = sha256_file(path, cancel)? else { return Ok(None) };
    if let Some(state) = before.filter(|state| FileState::of(path).as_ref() == Some(state)) {
        cache.remember(HashAlgorithm::Sha256, &[(state, hash.clone())]);
    }
    Ok(Some(hash))
}

/// A line of the cache: state, hash, checksum of both.
fn line(state: &str, hash: &str) -> String {
    let record = format!("{state} {hash}");
    format!("{record} {}\n", checksum(&record))
}

/// State and hash of a line; `None` where it is damaged, or of a version without checksums.
fn entry(line: &str) -> Option<(String, String)> {
    let (record, sum) = line.rsplit_once(' ')?;
    let (state, hash) = record.rsplit_once(' ')?;
    (hash.len() == 64 && sum == checksum(record)).then(|| (state.to_owned(), hash.to_owned()))
}

/// Entries kept when the file is trimmed.
const MAX_ENTRIES: usize = 20_000;

impl HashCache {
    /// Opens the cache in [`cache_dir`]; without one nothing is remembered.
    #[must_use]
    pub fn open_default() -> Self {
        cache_dir().map_or_else(Self::default, |dir| Self::open(&dir))
    }

    /// Opens the cache of a directory.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        Self { blake3: Records::open(dir.join("input-blake3")), sha256: Records::open(dir.join("input-sha256")) }
    }

    /// The remembered digest of a file that has not changed since, in hexadecimal.
    #[must_use]
    pub fn get(&self, path: &Path, algorithm: HashAlgorithm) -> Option<&str> {
        let records = match algorithm {
            HashAlgorithm::Blake3 => &self.blake3,
            HashAlgorithm::Sha256 => &self.sha256,
        };
        let key = FileState::of(path)?.0;
        records.entries.iter().rev().find(|(k, _)| *k == key).map(|(_, hash)| hash.as_str())
    }

    /// A sentence about records that cannot be used, once: they are gone from the file then.
    #[must_use]
    pub(crate) fn warning(&self) -> Option<String> {
        let damaged = self.blake3.damaged + self.sha256.damaged;
        let records = if damaged == 1 { "1 record".to_owned() } else { format!("{damaged} records") };
        let what = "of the cache of input hashes cannot be used (damaged, or of an older version); hashed again";
        (damaged > 0).then(|| format!("{records} {what}"))
    }

    /// Remembers digests, each with the state its file had both before and after it was hashed.
    pub fn remember(&mut self, algorithm: HashAlgorithm, hashes: &[(FileState, String)]) {
        let records = match algorithm {
            HashAlgorithm::Blake3 => &mut self.blake3,
            HashAlgorithm::Sha256 => &mut self.sha256,
        };
        records.append(hashes);
    }
}

impl Records {
    fn open(file: PathBuf) -> Self {
        // Not as text: one byte that is no UTF-8 must not cost all entries.
        // A cache that cannot be read remembers nothing.
        let bytes = crate::storage::input::read(&file, u64::MAX).unwrap_or_else(|_| Vec::new());
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let mut entries: Vec<(String, String)> =
            lines.iter().filter_map(|line| entry(std::str::from_utf8(line).ok()?)).collect();
        let damaged = lines.len() - entries.len();
        if entries.len() > MAX_ENTRIES || damaged > 0 {
            entries.drain(..entries.len().saturating_sub(MAX_ENTRIES / 2));
            let kept: String = entries.iter().map(|(k, v)| line(k, v)).collect();
            // Losing the cache costs time, never correctness.
            let _ = OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&file)
                .and_then(|mut f| f.write_all(kept.as_bytes()));
        }
        Self { file: Some(file), entries, damaged }
    }

    fn append(&mut self, hashes: &[(FileState, String)]) {
        let new: Vec<(String, String)> = hashes.iter().map(|(state, hash)| (state.0.clone(), hash.clone())).collect();
        let lines: String = new.iter().map(|(k, v)| line(k, v)).collect();
        self.entries.extend(new);
        let Some(file) = self.file.as_ref().filter(|_| !lines.is_empty()) else { return };
        if let Some(parent) = file.parent() {
            let _ = std::fs::create_dir_all(parent);
        }
        let _ = OpenOptions::new().create(true).append(true).open(file).and_then(|mut f| f.write_all(lines.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_match_the_published_vector() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_file(&path, &CancelFlag::new()).unwrap().as_deref(), Some(expected));
        assert_eq!(sha256_bytes(b"abc"), expected);
        assert_eq!(Digest::of(HashAlgorithm::Sha256, b"abc").to_string(), format!("SHA-256 {expected}"));
        let expected = "BLAKE3 6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
        assert_eq!(Digest::of(HashAlgorithm::Blake3, b"abc").to_string(), expected);
    }

    #[test]
    fn the_cache_forgets_a_file_that_was_touched_and_a_record_that_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(FileState::of(&path), None, "a file this young is never remembered");
        let old = dir.path().join(".");
        // The directory itself is younger than two seconds too; an old file of the system serves.
        let system = Path::new("/proc/self/exe").canonicalize().unwrap_or(old);
        let Some(state) = FileState::of(&system) else { return };
        let mut cache = HashCache::open(dir.path());
        cache.remember(HashAlgorithm::Sha256, &[(state.clone(), "1".repeat(64))]);
        let remembered = |algorithm| HashCache::open(dir.path()).get(&system, algorithm).map(str::to_owned);
        assert_eq!(remembered(HashAlgorithm::Sha256), Some("1".repeat(64)));
        assert_eq!(remembered(HashAlgorithm::Blake3), None, "a digest is never taken for one of another function");
        cache.remember(HashAlgorithm::Blake3, &[(state, "2".repeat(64))]);
        assert_eq!(remembered(HashAlgorithm::Blake3), Some("2".repeat(64)));
        assert_eq!(remembered(HashAlgorithm::Sha256), Some("1".repeat(64)));
        assert_eq!(cache.get(&path, HashAlgorithm::Sha256), None);
        // One changed bit anywhere: the file is hashed again.
        let file = dir.path().join("input-sha256");
        let bytes = std::fs::read(&file).unwrap();
        for place in (0..bytes.len() - 1).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            std::fs::write(&file, damaged).unwrap();
            let opened = HashCache::open(dir.path());
            assert_eq!(opened.get(&system, HashAlgorithm::Sha256), None, "byte {place}");
            // Said once: the record is gone then.
            assert!(opened.warning().is_some_and(|text| text.starts_with("1 record ")), "byte {place}");
            assert_eq!(HashCache::open(dir.path()).warning(), None, "byte {place}");
        }
    }
}
