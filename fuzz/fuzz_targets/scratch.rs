//! A folder of this process for readers that take paths.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> =
    LazyLock::new(|| tempfile::Builder::new().prefix("billon-fuzz-").tempdir().expect("a temporary folder").keep());

/// The folder, always the same.
#[allow(dead_code, reason = "a target may name its one file alone")]
pub(crate) fn folder() -> &'static Path {
    &FOLDER
}

/// Writes a file into the folder.
pub(crate) fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.join(name);
    std::fs::write(&path, bytes).expect("the temporary folder takes files");
    path
}

/// Two bytes of length, a first part of that length, and the rest.
#[allow(dead_code, reason = "not every target has two parts")]
pub(crate) fn parts(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}
