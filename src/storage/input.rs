//! Files that the user names, opened so that none can hang the run or fill the memory.
//!
//! A FIFO without a writer waits for ever, a terminal or socket waits for somebody, `/dev/zero` never ends. Only
//! regular files are opened, without waiting, and each kind of file has a size that it may have.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Most bytes of a text that people write: recipes, task files, gate files, experiments.
pub(crate) const TEXT_BYTES: u64 = 64 << 20;

/// Most bytes of the settings of a model, tokenizer or adapter. The largest in the field have two megabytes; parsed
/// JSON takes some twenty times its size in the worst case.
pub(crate) const SETTINGS_BYTES: u64 = 32 << 20;

/// Most bytes of a file that lists tensors or holds a vocabulary: shard index, lock, tokenizer. Models of a trillion
/// parameters have indexes of 20 MB, the largest vocabularies 40 MB.
pub(crate) const LIST_BYTES: u64 = 256 << 20;

/// Opens a regular file, or what a symbolic link to one names.
///
/// # Errors
/// I/O errors; [`io::ErrorKind::InvalidInput`] for anything but a regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Looked at before it is opened: opening some devices does something.
    regular(&std::fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    // It may have been exchanged in between.
    regular(&file.metadata()?)?;
    Ok(file)
}

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    if length <= most {
        bytes.reserve_exact(usize::try_from(length).unwrap_or(0));
        // One more byte tells whether a file that grows has become too large.
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    if length > most || bytes.len() as u64 > most {
        let message = format!("it has {} bytes, more than the {most} that such a file may have", length.max(most + 1));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// [`read`] of UTF-8 text.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::InvalidData`] with the line of the first byte that is not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 text (line {line})"))
    })
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a regular file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&fifo, &link).unwrap();
        for (path, what) in [
            (fifo.as_path(), "a FIFO"),
            (&link, "a FIFO"),
            (&socket, "a socket"),
            (dir.path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = read(path, 10).unwrap_err();
            assert_eq!(error.to_string(), format!("it is {what}, not a regular file"));
        }
        assert_eq!(read(&dir.path().join("none"), 10).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn size_and_text_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one\ntwo").unwrap();
        assert_eq!(read(&path, 7).unwrap(), b"one\ntwo");
        assert_eq!(read_text(&path, 7).unwrap(), "one\ntwo");
        let error = read(&path, 6).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("more than the 6"), "{error}");
        std::fs::write(&path, b"one\nt\xffo").unwrap();
        assert!(read_text(&path, 7).unwrap_err().to_string().contains("line 2"));
    }
}
