//! Logs that grow line by line and outlive a crash: what is there is read, new lines are appended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Opens a log for appending, made with its folder if need be, and reads what is in it. Each write goes to the end of the
/// file, whoever else appends.
pub(crate) fn open_shared(path: &Path) -> io::Result<(File, Vec<u8>)> {
    create_parent(path)?;
    read_all(OpenOptions::new().create(true).read(true).append(true).open(path)?)
}

/// Opens a log that this process alone writes, made with its folder if need be, and reads what is in it. The position is
/// at its end.
pub(crate) fn open_own(path: &Path) -> io::Result<(File, Vec<u8>)> {
    create_parent(path)?;
    read_all(OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?)
}

/// Keeps the first `length` bytes and goes on after them.
pub(crate) fn cut(file: &mut File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length))?;
    Ok(())
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn read_all(mut file: File) -> io::Result<(File, Vec<u8>)> {
    // A FIFO would be read for ever.
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((file, bytes))
}
