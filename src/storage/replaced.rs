//! Outputs that were replaced: their removal, and their return after a publication that was killed half-way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::leftovers;
use super::manifest::Survey;
use super::place::Place;
use super::write_error::{WriteError, failed};

/// Removes an output that was replaced. Files that came into it meanwhile are not billon's: they move to the successor.
#[expect(clippy::disallowed_methods, reason = "what came in between is handed on")]
pub(super) fn discard(old: &Path, successor: Option<&Path>) -> Result<(), WriteError> {
    leftovers::sweep(old, |_| true);
    let survey = Survey::of(old).map_err(failed(old))?;
    survey.remove_own(old).map_err(failed(old))?;
    for path in &survey.foreign {
        let to = successor.map(|folder| folder.join(path)).filter(|to| fs::symlink_metadata(to).is_err());
        let moved = to.is_some_and(|to| fs::rename(old.join(path), to).is_ok());
        if !moved {
            return Err(failed(&old.join(path))(io::Error::from(io::ErrorKind::DirectoryNotEmpty)));
        }
    }
    match fs::remove_dir(old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(old)(error)),
        _ => Ok(()),
    }
}

/// Path of the previous output while its successor is renamed, on file systems that can't exchange names.
pub(super) fn old_name(staging: &Path) -> PathBuf {
    let mut name = staging.file_name().expect("a staging folder has a name").to_os_string();
    name.push(".old");
    staging.with_file_name(name)
}

/// Brings an output back whose replacement was killed between two renames.
#[expect(clippy::disallowed_methods, reason = "undoes half of a publication")]
pub(super) fn recover(place: &Place, stem: &str) {
    let Ok(entries) = fs::read_dir(&place.parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let staged = name.to_str().and_then(|name| name.strip_suffix(".old"));
        if staged.and_then(|name| leftovers::staged_stem(name.as_ref())) != Some(stem) {
            continue;
        }
        let path = entry.path();
        let Some(_lock) = leftovers::lock_folder(&path) else { continue };
        if fs::symlink_metadata(&place.path).is_err() {
            let _ = fs::rename(&path, &place.path);
        } else {
            let _ = discard(&path, None);
        }
    }
}
