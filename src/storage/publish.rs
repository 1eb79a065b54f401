//! Publishing outputs whole or not at all.
//!
//! A directory is prepared in a hidden folder ([`StagingDir`]) and appears by one exchange of names; a file is prepared
//! beside its target ([`publish_file`]) and renamed over it; files that go into a folder with others' are a
//! [`FileSet`](super::file_set::FileSet). A run that fails, is killed or runs out of space leaves the target as it was;
//! what a killed run leaves behind is swept by the next one. What billon did not write is never removed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::leftovers;
use super::manifest::{MANIFEST_FILE, Manifest, Survey, is_own_stem};
use super::place::Place;
use super::write_error::failed;

pub(crate) use super::output_file::OutputFile;
pub(crate) use super::staging::Former;
pub use super::staging::StagingDir;
pub(crate) use super::write_error::WriteError;

/// Whether a directory may be written at `target`, and its real path. With `replace`, an earlier output of billon may be
/// there, all of whose files are billon's.
///
/// # Errors
/// A [`WriteError`] naming what is in the way.
pub(crate) fn check_target(target: &Path, replace: bool) -> Result<PathBuf, WriteError> {
    Ok(checked(target, replace)?.path)
}

/// Refuses a target that is an input, or holds one, however it is spelt.
///
/// # Errors
/// [`WriteError::TargetIsInput`], [`WriteError::TargetHoldsInput`].
pub(crate) fn refuse_inputs(target: &Path, inputs: &[PathBuf]) -> Result<(), WriteError> {
    Place::find(target)?.refuse_inputs(inputs)
}

/// [`check_target`] with all that is found out on the way. What this process prepares inside the target does not count.
pub(super) fn checked(target: &Path, replace: bool) -> Result<Place, WriteError> {
    let place = Place::find(target)?;
    if place.found.is_none() {
        return Ok(place);
    }
    // A run that was killed while it wrote its first files has left these and no list yet.
    leftovers::sweep(&place.path, |stem| stem == leftovers::stem_of(&place.name) || is_own_stem(stem));
    let mut survey = Survey::of(&place.path).map_err(failed(&place.path))?;
    survey.foreign.retain(|path| {
        // A file system's own folder at its root is nobody's, and stays.
        let own = place.fixed && path.as_os_str() == "lost+found";
        !own && !leftovers::is_of_this_process(path.as_os_str())
    });
    if survey.is_empty() {
        place.refuse_in_use(false)?;
        return Ok(place);
    }
    let foreign = survey.foreign;
    if !replace {
        let ours = survey.marked && foreign.is_empty();
        return Err(WriteError::TargetNotEmpty { target: place.path, ours });
    }
    place.refuse_in_use(true)?;
    if !survey.marked || !foreign.is_empty() {
        return Err(WriteError::TargetForeign { target: place.path, foreign });
    }
    Ok(place)
}

/// Refuses names that are taken in a folder which billon does not know as its own.
///
/// # Errors
/// [`WriteError::TargetForeign`] naming them.
pub(crate) fn refuse_taken(folder: &Path, names: &[&str]) -> Result<(), WriteError> {
    let path = super::place::resolve(folder)?;
    let Ok(survey) = Survey::of(&path) else { return Ok(()) };
    let taken: Vec<PathBuf> = names.iter().map(PathBuf::from).filter(|name| survey.foreign.contains(name)).collect();
    if survey.marked || taken.is_empty() {
        return Ok(());
    }
    Err(WriteError::TargetForeign { target: path, foreign: taken })
}

/// Marks a folder that grows step by step as billon's, with the files that it will hold; the list of an earlier run grows.
///
/// # Errors
/// I/O errors.
pub(crate) fn mark_folder(folder: &Path, names: &[&str]) -> Result<(), WriteError> {
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let survey = Survey::of(folder).map_err(failed(folder))?;
    let own = survey.own.iter().filter_map(|path| path.to_str()).filter(|path| {
        *path != super::manifest::FOLDER_LOCK && *path != MANIFEST_FILE && !path.starts_with("checkpoint-")
    });
    let manifest = Manifest::new(names.iter().copied().chain(own).map(str::to_owned), false);
    publish_file(&folder.join(MANIFEST_FILE), manifest.text().as_bytes())
}

/// Removes what killed runs left in a folder that this process has locked: files and folders that it prepares.
pub(crate) fn sweep_folder(folder: &Path) {
    leftovers::sweep(folder, is_own_stem);
    if let Ok(place) = Place::find(folder) {
        leftovers::sweep(place.workshop(), |stem| stem == leftovers::stem_of(&place.name));
    }
}

/// Removes what killed runs left in a folder that only billon writes to, whatever it was to become.
pub(crate) fn sweep_leftovers(folder: &Path) {
    leftovers::sweep(folder, |_| true);
}

/// Removes an earlier output, in one step for those who look: its name goes first. A directory with files of others stays
/// as it is. Returns whether it was removed.
///
/// # Errors
/// I/O errors.
#[expect(clippy::disallowed_methods, reason = "the name goes before the files do")]
pub(crate) fn remove_output(directory: &Path) -> Result<bool, WriteError> {
    let place = Place::find(directory)?;
    let survey = Survey::of(&place.path).map_err(failed(&place.path))?;
    if !survey.marked || !survey.foreign.is_empty() || place.fixed {
        return Ok(false);
    }
    let (hidden, _lock) = leftovers::create_folder(&place.parent, &leftovers::stem_of(&place.name))?;
    let _old = leftovers::lock_folder(&place.path);
    fs::rename(&place.path, &hidden).map_err(failed(&place.path))?;
    survey.remove_own(&hidden).and_then(|()| fs::remove_dir(&hidden)).map_err(failed(&hidden))?;
    Ok(true)
}

/// Publishes one file: written beside the target under a hidden name, synced, and renamed over it, so
/// that a reader sees the old file or the whole new one. Directories are created.
///
/// # Errors
/// I/O errors; the target is then as it was.
#[expect(clippy::disallowed_methods, reason = "publishing is this module's business")]
pub(crate) fn publish_file(target: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let absolute = std::path::absolute(target).map_err(failed(target))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(WriteError::NoName { target: target.into() });
    };
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let stem = leftovers::stem_of(name);
    leftovers::sweep(parent, |found| found == stem);
    let (staged, mut file) = leftovers::create_file(parent, &stem)?;
    let mut write = || {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, &absolute)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&staged);
        failed(target)(error)
    })?;
    sync_dir(parent)
}

pub(super) fn sync_dir(path: &Path) -> Result<(), WriteError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(failed(path))
}
