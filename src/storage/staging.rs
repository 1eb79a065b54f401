//! Directories that appear whole.
//!
//! A [`StagingDir`] is a hidden folder on the target's file system. [`StagingDir::publish`] gives it the target's name,
//! or exchanges the two names where an earlier output is replaced, and then removes the earlier one's files. A target
//! that can't be renamed (a mount point, the current directory) is filled instead: with files from a folder inside it,
//! the ones that loaders look for last.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::leftovers;
use super::manifest::{FOLDER_LOCK, LOCK_FILE, MANIFEST_FILE, Manifest, Survey, files_below, is_config, is_list};
use super::output_file::OutputFile;
use super::place::Place;
use super::publish::{checked, publish_file, sync_dir};
use super::write_error::{WriteError, failed};

/// A directory that does not exist yet for anyone else.
#[derive(Debug)]
pub struct StagingDir {
    place: Place,
    path: PathBuf,
    replace: bool,
    /// Whether files of the target that are not written anew stay.
    additive: bool,
    published: bool,
    /// Held as long as the folder is in use; none for one inside another.
    _lock: Option<File>,
}

impl StagingDir {
    /// Prepares to publish `target`. With `replace`, an earlier output of billon may be there, and survives
    /// until the new one is complete.
    ///
    /// # Errors
    /// When the target holds anything else, or nothing can be created beside it.
    pub fn create(target: &Path, replace: bool) -> Result<Self, WriteError> {
        Self::make(checked(target, replace)?, replace)
    }

    /// A folder beside a target for what is not published, whatever the target holds.
    ///
    /// # Errors
    /// When nothing can be created there.
    pub fn scratch(target: &Path) -> Result<Self, WriteError> {
        Self::make(Place::find(target)?, false)
    }

    /// Prepares the successor of a folder that billon is at work in: what it holds stays, as links to the same files, and
    /// what is written comes in addition, all at once. Where links can't be had or others have files in the folder, new
    /// files are moved in.
    ///
    /// # Errors
    /// I/O errors.
    pub fn succeed(folder: &Path) -> Result<Self, WriteError> {
        let mut place = Place::find(folder)?;
        let survey = Survey::of(&place.path).map_err(failed(&place.path))?;
        if !place.fixed && survey.foreign.is_empty() {
            let mut staging = Self::make(place.clone(), true)?;
            if staging.link(&survey).is_ok() {
                staging.additive = true;
                return Ok(staging);
            }
        }
        place.fixed = true;
        let mut staging = Self::make(place, true)?;
        staging.additive = true;
        Ok(staging)
    }

    fn make(place: Place, replace: bool) -> Result<Self, WriteError> {
        let workshop = place.workshop();
        fs::create_dir_all(workshop).map_err(failed(workshop))?;
        let stem = leftovers::stem_of(&place.name);
        recover(&place, &stem);
        leftovers::sweep(workshop, |found| found == stem);
        let (path, lock) = leftovers::create_folder(workshop, &stem)?;
        Ok(Self { place, path, replace, additive: false, published: false, _lock: Some(lock) })
    }

    fn link(&self, survey: &Survey) -> io::Result<()> {
        for folder in &survey.folders {
            fs::create_dir(self.path.join(folder))?;
        }
        for file in survey.own.iter().filter(|file| file.as_os_str() != MANIFEST_FILE) {
            fs::hard_link(self.place.path.join(file), self.path.join(file))?;
        }
        Ok(())
    }

    /// The staging directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Final path of the output.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.place.path
    }

    /// A directory inside this one, which appears and disappears with it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn nested(&self, name: &str) -> Result<Self, WriteError> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(failed(&path))?;
        let place = Place { path: path.clone(), ..self.place.clone() };
        Ok(Self { place, path, replace: false, additive: false, published: true, _lock: None })
    }

    /// Writes a small file and syncs it. In the successor of a folder it takes the place of the linked one.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.path.join(name);
        let write = || {
            if self.additive {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(failed(&path))
    }

    /// Creates a file of `bytes` bytes, space reserved.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`] when the disk can't hold it.
    pub fn create_file(&self, name: &str, bytes: u64) -> Result<OutputFile, WriteError> {
        OutputFile::create(self.path.join(name), bytes)
    }

    /// Makes the directory appear under the target's name, replacing an earlier output if that was allowed.
    ///
    /// # Errors
    /// I/O errors, or what has come into the target meanwhile; the target is then as it was. A
    /// target that is filled file by file may be left without the file that loaders look for.
    pub fn publish(mut self) -> Result<PathBuf, WriteError> {
        self.list()?;
        self.sync()?;
        // Hours may have passed since the target was looked at.
        if !self.additive {
            checked(&self.place.path, self.replace)?;
        }
        if self.place.fixed {
            self.fill()?;
        } else {
            self.exchange()?;
        }
        Ok(self.place.path.clone())
    }

    /// Adds the list of files, where no lock has one.
    fn list(&self) -> Result<(), WriteError> {
        if !self.additive && self.path.join(LOCK_FILE).exists() {
            return Ok(());
        }
        let kept = |path: &PathBuf| {
            let checkpoint = path.to_str().is_some_and(|path| path.starts_with("checkpoint-"));
            !(self.additive && checkpoint) && path.as_os_str() != FOLDER_LOCK && path.as_os_str() != MANIFEST_FILE
        };
        let mut files = files_below(&self.path).map_err(failed(&self.path))?;
        if self.additive && self.place.fixed {
            files.extend(Survey::of(&self.place.path).map_err(failed(&self.place.path))?.own);
        }
        let names = files.iter().filter(|path| kept(path)).map(|path| path.to_string_lossy().into_owned());
        self.write(MANIFEST_FILE, Manifest::new(names, true).text().as_bytes())
    }

    fn sync(&self) -> Result<(), WriteError> {
        let folders: std::collections::BTreeSet<PathBuf> = files_below(&self.path)
            .map_err(failed(&self.path))?
            .iter()
            .filter_map(|file| file.parent().map(|folder| self.path.join(folder)))
            .collect();
        folders.iter().try_for_each(|folder| sync_dir(folder))?;
        sync_dir(&self.path)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that publishes directories")]
    fn exchange(&mut self) -> Result<(), WriteError> {
        let target = &self.place.path;
        let in_way = |source: io::Error| match source.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                WriteError::TargetNotEmpty { target: target.clone(), ours: false }
            }
            _ => failed(target)(source),
        };
        // An empty target, or none, gives way to a plain rename.
        let old = match fs::rename(&self.path, target) {
            Ok(()) => None,
            Err(_) if target.is_dir() => {
                // Whoever sweeps this folder's new name finds the old one locked.
                let lock = leftovers::lock_folder(target);
                if rustix::fs::renameat_with(CWD, &self.path, CWD, target, RenameFlags::EXCHANGE).is_ok() {
                    Some((self.path.clone(), lock))
                } else {
                    let old = old_name(&self.path);
                    if fs::rename(target, &old).is_err() {
                        // A directory of an overlay's lower layer, say: its files can be replaced, its name can't.
                        return self.fill();
                    }
                    if let Err(error) = fs::rename(&self.path, target) {
                        fs::rename(&old, target).map_err(failed(target))?;
                        return Err(failed(target)(error));
                    }
                    Some((old, lock))
                }
            }
            Err(error) => return Err(in_way(error)),
        };
        self.published = true;
        sync_dir(&self.place.parent)?;
        match old {
            Some((old, _lock)) => discard(&old, Some(target)),
            None => Ok(()),
        }
    }

    /// Moves the files into a target that can't be renamed.
    #[expect(clippy::disallowed_methods, reason = "the one place that publishes directories")]
    fn fill(&self) -> Result<(), WriteError> {
        let target = &self.place.path;
        let survey = Survey::of(target).map_err(failed(target))?;
        let mut new = files_below(&self.path).map_err(failed(&self.path))?;
        // The list comes first, so that a target which is left half-filled is still known as billon's.
        let known = survey
            .own
            .iter()
            .chain(&new)
            .filter(|path| !is_list(path) && path.as_os_str() != FOLDER_LOCK && !path.starts_with("checkpoint-"));
        let manifest = Manifest::new(known.map(|path| path.to_string_lossy().into_owned()), false);
        publish_file(&target.join(MANIFEST_FILE), manifest.text().as_bytes())?;
        let old = survey.own.iter().filter(|path| path.as_os_str() != FOLDER_LOCK && path.as_os_str() != MANIFEST_FILE);
        let mut old: Vec<&PathBuf> = old.filter(|path| !self.additive || new.contains(path)).collect();
        old.sort_by_key(|path| !(is_config(path) || is_list(path)));
        for path in old.iter().filter(|path| is_config(path) || is_list(path) || !new.contains(path)) {
            fs::remove_file(target.join(path)).map_err(failed(target))?;
        }
        new.sort_by_key(|path| (is_list(path), is_config(path)));
        for path in &new {
            let to = target.join(path);
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(failed(folder))?;
            }
            fs::rename(self.path.join(path), &to).map_err(failed(&to))?;
            sync_dir(target)?;
        }
        if !new.iter().any(|path| path.as_os_str() == MANIFEST_FILE) {
            let list = target.join(MANIFEST_FILE);
            fs::remove_file(&list).map_err(failed(&list))?;
        }
        for folder in survey.folders.iter().rev() {
            // One that still holds files is part of the new output.
            let _ = fs::remove_dir(target.join(folder));
        }
        sync_dir(target)
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done about a failure here; the next run sweeps again.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// An earlier output that a new one works in the place of; it comes back unless the new one stays.
#[derive(Debug)]
pub(crate) struct Former {
    folder: PathBuf,
    path: PathBuf,
    _lock: Option<File>,
}

impl Former {
    /// Puts an empty folder in the place of an earlier output, in one step. The lock file of a process at work in it is
    /// the same in both. `None` where the folder has to stay: its files are removed then.
    ///
    /// # Errors
    /// I/O errors, or files that are not billon's.
    pub(crate) fn set_aside(folder: &Path) -> Result<Option<Self>, WriteError> {
        let place = checked(folder, true)?;
        let survey = Survey::of(&place.path).map_err(failed(&place.path))?;
        if survey.is_empty() {
            return Ok(None);
        }
        let mut staging = StagingDir::make(place.clone(), true)?;
        let old = leftovers::lock_folder(&place.path);
        let lock = place.path.join(FOLDER_LOCK);
        let linked = !lock.exists() || fs::hard_link(&lock, staging.path.join(FOLDER_LOCK)).is_ok();
        if !place.fixed
            && linked
            && rustix::fs::renameat_with(CWD, &staging.path, CWD, &place.path, RenameFlags::EXCHANGE).is_ok()
        {
            staging.published = true;
            sync_dir(&place.parent)?;
            return Ok(Some(Self { folder: place.path.clone(), path: staging.path.clone(), _lock: old }));
        }
        let mut survey = survey;
        survey.own.retain(|path| path.as_os_str() != FOLDER_LOCK);
        survey.remove_own(&place.path).map_err(failed(&place.path))?;
        Ok(None)
    }

    /// Brings the earlier output back and removes what came in its place.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn restore(self) -> Result<(), WriteError> {
        rustix::fs::renameat_with(CWD, &self.path, CWD, &self.folder, RenameFlags::EXCHANGE)
            .map_err(|error| failed(&self.folder)(error.into()))
        // Dropping it removes what has its hidden name now.
    }
}

impl Drop for Former {
    fn drop(&mut self) {
        let _ = discard(&self.path, Some(&self.folder));
    }
}

/// Removes an output that was replaced. Files that came into it meanwhile are not billon's: they move to the successor.
#[expect(clippy::disallowed_methods, reason = "what came in between is handed on")]
fn discard(old: &Path, successor: Option<&Path>) -> Result<(), WriteError> {
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
fn old_name(staging: &Path) -> PathBuf {
    let mut name = staging.file_name().expect("a staging folder has a name").to_os_string();
    name.push(".old");
    staging.with_file_name(name)
}

/// Brings an output back whose replacement was killed between two renames.
#[expect(clippy::disallowed_methods, reason = "undoes half of a publication")]
fn recover(place: &Place, stem: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn published(target: &Path, replace: bool, files: &[&str]) {
        let staging = StagingDir::create(target, replace).unwrap();
        for name in files {
            staging.write(name, name.as_bytes()).unwrap();
        }
        staging.publish().unwrap();
    }

    #[test]
    fn publishes_whole_and_replaces_only_with_force() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let staging = StagingDir::create(&target, false).unwrap();
        staging.write("a", b"1").unwrap();
        assert!(!target.exists());
        staging.publish().unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");

        let refused = StagingDir::create(&target, false).unwrap_err();
        assert!(matches!(refused, WriteError::TargetNotEmpty { ours: true, .. }), "{refused}");
        let staging = StagingDir::create(&target, true).unwrap();
        staging.write("b", b"2").unwrap();
        assert_eq!(names(&target), ["a", MANIFEST_FILE], "the old one stays until the end");
        staging.publish().unwrap();
        assert_eq!(names(&target), ["b", MANIFEST_FILE]);
        assert_eq!(names(dir.path()), ["out"], "nothing is left over");
    }

    #[test]
    fn what_others_put_into_an_output_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        published(&target, false, &["a"]);
        fs::write(target.join("notes"), "mine").unwrap();
        let error = StagingDir::create(&target, true).unwrap_err();
        assert!(error.to_string().ends_with("did not write: notes"), "{error}");
        fs::remove_file(target.join("notes")).unwrap();

        // Too late for the check at the start, in time for the one at the end.
        let staging = StagingDir::create(&target, true).unwrap();
        fs::write(target.join("notes"), "mine").unwrap();
        assert!(matches!(staging.publish(), Err(WriteError::TargetForeign { .. })));
        assert_eq!(names(&target), ["a", MANIFEST_FILE, "notes"]);
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn a_dropped_staging_dir_vanishes_and_a_dead_one_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        drop(StagingDir::create(&target, false).unwrap());
        assert_eq!(names(dir.path()), [""; 0]);
        // A killed run leaves its directory without a lock; a living one keeps its lock.
        fs::create_dir(dir.path().join(".out.billon-1-0")).unwrap();
        let living = StagingDir::create(&target, false).unwrap();
        let second = StagingDir::create(&target, false).unwrap();
        assert!(living.path().exists() && second.path().exists());
        assert!(!dir.path().join(".out.billon-1-0").exists());
    }

    #[test]
    fn an_impossible_size_is_no_space_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let staging = StagingDir::create(&target, false).unwrap();
        let error = staging.create_file("model.safetensors", 1 << 62).unwrap_err();
        assert!(matches!(error, WriteError::NoSpace { .. } | WriteError::Io { .. }), "{error}");
        drop(staging);
        assert_eq!(names(dir.path()), [""; 0]);
    }

    /// The way of mount points, without a mount.
    #[test]
    fn a_directory_that_has_to_stay_is_filled() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir(&target).unwrap();
        let fill = |replace: bool, files: &[&str]| {
            let place = Place { fixed: true, ..checked(&target, replace).unwrap() };
            let staging = StagingDir::make(place, replace).unwrap();
            assert!(staging.path().starts_with(target.canonicalize().unwrap()));
            for name in files {
                staging.write(name, name.as_bytes()).unwrap();
            }
            staging.list().unwrap();
            staging.fill().unwrap();
        };
        fill(false, &["config.json", "model.safetensors", "old"]);
        assert_eq!(names(&target), [MANIFEST_FILE, "config.json", "model.safetensors", "old"]);
        let lock = "{\"lock_version\": 1, \"outputs\": {\"config.json\": {}, \"new\": {}}}";
        let place = Place { fixed: true, ..checked(&target, true).unwrap() };
        let staging = StagingDir::make(place, true).unwrap();
        staging.write("config.json", b"{}").unwrap();
        staging.write("new", b"").unwrap();
        staging.write(LOCK_FILE, lock.as_bytes()).unwrap();
        staging.list().unwrap();
        staging.fill().unwrap();
        drop(staging);
        assert_eq!(names(&target), [LOCK_FILE, "config.json", "new"]);
        assert!(checked(&target, true).is_ok(), "and is known as billon's");
    }

    #[test]
    fn a_former_output_comes_back_or_goes() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        published(&target, false, &["a"]);
        let former = Former::set_aside(&target).unwrap().unwrap();
        assert_eq!(names(&target), [""; 0]);
        crate::storage::publish::mark_folder(&target, &["half"]).unwrap();
        fs::write(target.join("half"), "").unwrap();
        former.restore().unwrap();
        assert_eq!((names(&target), names(dir.path())), (vec!["a".into(), MANIFEST_FILE.into()], vec!["out".into()]));
        drop(Former::set_aside(&target).unwrap());
        assert_eq!((names(&target), names(dir.path())), (Vec::<String>::new(), vec!["out".into()]));
    }

    #[test]
    fn a_successor_keeps_what_the_folder_holds() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        fs::create_dir_all(target.join("checkpoint-1")).unwrap();
        crate::storage::publish::mark_folder(&target, &["log", "result"]).unwrap();
        fs::write(target.join("log"), "lines").unwrap();
        fs::write(target.join("result"), "old").unwrap();
        fs::write(target.join("checkpoint-1/billon_state.json"), "{}").unwrap();
        let staging = StagingDir::succeed(&target).unwrap();
        staging.write("result", b"new").unwrap();
        assert_eq!(fs::read(target.join("result")).unwrap(), b"old");
        staging.publish().unwrap();
        assert_eq!(names(&target), [MANIFEST_FILE, "checkpoint-1", "log", "result"]);
        assert_eq!(fs::read(target.join("result")).unwrap(), b"new");
        // With a file of someone else's, the new ones are moved in and that one stays.
        fs::write(target.join("notes"), "mine").unwrap();
        let staging = StagingDir::succeed(&target).unwrap();
        staging.write("result", b"newer").unwrap();
        staging.publish().unwrap();
        assert_eq!(names(&target), [MANIFEST_FILE, "checkpoint-1", "log", "notes", "result"]);
        assert_eq!(fs::read(target.join("result")).unwrap(), b"newer");
        assert_eq!(names(dir.path()), ["out"]);
    }
}
