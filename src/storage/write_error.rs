//! Why an output could not be written.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Diagnose, ErrorKind};

/// Reasons why an output could not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WriteError {
    #[error("output {} exists and is not empty", target.display())]
    TargetNotEmpty { target: PathBuf, ours: bool },
    #[error("output {} holds what billon did not write: {}", target.display(), listed(foreign))]
    TargetForeign { target: PathBuf, foreign: Vec<PathBuf> },
    #[error("output {} exists and is not a directory", target.display())]
    TargetNotADirectory { target: PathBuf },
    #[error("output {} is one of the inputs", target.display())]
    TargetIsInput { target: PathBuf },
    #[error("output {} holds an input, {}", target.display(), input.display())]
    TargetHoldsInput { target: PathBuf, input: PathBuf },
    #[error("output {} is {what}", target.display())]
    TargetInUse { target: PathBuf, what: &'static str },
    #[error("{} is a symbolic link to something that does not exist", path.display())]
    DanglingLink { path: PathBuf },
    #[error("output path {} has no final name", target.display())]
    NoName { target: PathBuf },
    #[error("no space left for {} ({bytes} bytes)", path.display())]
    NoSpace { path: PathBuf, bytes: u64 },
    #[error("cannot write {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The first few paths, and how many more there are.
fn listed(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = paths.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    let more = paths.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

impl Diagnose for WriteError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TargetNotEmpty { .. }
            | Self::TargetForeign { .. }
            | Self::TargetNotADirectory { .. }
            | Self::TargetIsInput { .. }
            | Self::TargetHoldsInput { .. }
            | Self::TargetInUse { .. }
            | Self::DanglingLink { .. }
            | Self::NoName { .. } => ErrorKind::Usage,
            Self::NoSpace { .. } | Self::Io { .. } => ErrorKind::Io,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::TargetNotEmpty { ours: true, .. } => {
                "choose another output, or pass --force to replace it once the new one is complete"
            }
            Self::TargetNotEmpty { ours: false, .. } | Self::TargetForeign { .. } => {
                "choose another output, or move these files away: --force replaces only what billon wrote"
            }
            Self::TargetIsInput { .. } | Self::TargetHoldsInput { .. } | Self::TargetInUse { .. } => {
                "choose another output directory"
            }
            Self::DanglingLink { .. } => "remove the link, or make what it leads to",
            Self::NoSpace { .. } => "nothing was published; free space or choose an output on another disk",
            Self::Io { source, .. } if source.raw_os_error() == Some(Errno::FBIG.raw_os_error()) => {
                "files of this size are not allowed here: raise the limit (`ulimit -f`), or use another file system"
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> WriteError + '_ {
    move |source| {
        if source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded {
            WriteError::NoSpace { path: path.into(), bytes: 0 }
        } else {
            WriteError::Io { path: path.into(), source }
        }
    }
}
