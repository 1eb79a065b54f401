//! Files that go into a folder beside others', and count only together: results and their samples.
//!
//! The folder is made and proven writable before the work whose files it will hold. They are prepared in a hidden,
//! locked folder inside it and moved out one by one, the one that names the others last. What a killed run had moved
//! without that last one is removed by the next: the hidden folder has the list.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::leftovers;
use super::publish::sync_dir;
use super::write_error::{WriteError, failed};

/// The list of files that are being moved, in the hidden folder.
const MOVING: &str = ".moving.json";
/// Written and removed to see whether the disk takes anything.
const PROBE: &str = ".probe";
const PROBE_BYTES: usize = 64 << 10;
/// Most bytes of a file's name.
const MOST_NAME_BYTES: usize = 255;

/// A folder that files will be published in.
#[derive(Debug)]
pub(crate) struct FileSet {
    folder: PathBuf,
    /// The folder as the caller calls it.
    shown: PathBuf,
    staging: PathBuf,
    /// Folders that were made for it, outer ones first.
    made: Vec<PathBuf>,
    published: bool,
    _lock: File,
}

impl FileSet {
    /// Makes the folder if need be and sees that it can be written. `stem` names the hidden folder; `is_old` knows the
    /// files that version 0.1 prepared beside their targets.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn prepare(folder: &Path, stem: &str, is_old: impl Fn(&str) -> bool) -> Result<Self, WriteError> {
        let given = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = super::place::resolve(given)?;
        // `nope/../out` leads nowhere as long as there is no `nope`.
        let plain = !given.components().any(|step| step == std::path::Component::ParentDir);
        let shown = if plain { given.to_owned() } else { folder.clone() };
        let mut made: Vec<PathBuf> =
            folder.ancestors().take_while(|path| !path.exists()).map(Path::to_path_buf).collect();
        made.reverse();
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        leftovers::sweep_with(&folder, |found| found == stem || is_old(found), |dead| undo(&folder, dead));
        let (staging, lock) = leftovers::create_folder(&folder, stem)?;
        let set = Self { folder, shown, staging, made, published: false, _lock: lock };
        set.write(PROBE, &vec![0; PROBE_BYTES])?;
        fs::remove_file(set.staging.join(PROBE)).map_err(failed(&set.staging))?;
        Ok(set)
    }

    /// Refuses a name that is too long for the file system.
    ///
    /// # Errors
    /// [`WriteError::Io`] naming the file.
    pub(crate) fn accepts(&self, name: &str) -> Result<(), WriteError> {
        if name.len() <= MOST_NAME_BYTES {
            return Ok(());
        }
        Err(WriteError::Io { path: self.folder.join(name), source: rustix::io::Errno::NAMETOOLONG.into() })
    }

    /// Writes a file of the set and syncs it.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.staging.join(name);
        let write = || {
            let mut file = File::options().write(true).create_new(true).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(failed(&path))
    }

    /// Moves all files into the folder, `last` after the others; returns the paths in the order given.
    ///
    /// # Errors
    /// I/O errors; the files that were moved are then removed again.
    #[expect(clippy::disallowed_methods, reason = "publishing is this module's business")]
    pub(crate) fn publish(mut self, names: &[String], last: &str) -> Result<(Vec<PathBuf>, PathBuf), WriteError> {
        let list = serde_json::json!({"files": names, "last": last}).to_string();
        self.write(MOVING, list.as_bytes())?;
        sync_dir(&self.staging)?;
        let mut paths = Vec::new();
        for name in names.iter().map(String::as_str).chain([last]) {
            let path = self.folder.join(name);
            if name == last {
                sync_dir(&self.folder)?;
            }
            if let Err(error) = fs::rename(self.staging.join(name), &path) {
                undo(&self.folder, &self.staging);
                return Err(failed(&path)(error));
            }
            paths.push(self.shown.join(name));
        }
        self.published = true;
        sync_dir(&self.folder)?;
        fs::remove_dir_all(&self.staging).map_err(failed(&self.staging))?;
        paths.pop();
        Ok((paths, self.shown.join(last)))
    }
}

impl Drop for FileSet {
    fn drop(&mut self) {
        if !self.published {
            // What can't be removed is swept by the next run.
            let _ = fs::remove_dir_all(&self.staging);
            for folder in self.made.iter().rev() {
                let _ = fs::remove_dir(folder);
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct Moving {
    files: Vec<String>,
    last: String,
}

/// Removes the files of a set that never became whole: those of its list that have left the hidden folder, while the one
/// that names them has not.
fn undo(folder: &Path, staging: &Path) {
    let Ok(list) = leftovers::read_regular(&staging.join(MOVING), 1 << 24) else { return };
    let Ok(Moving { files, last }) = serde_json::from_slice(&list) else { return };
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    if !is_file(&staging.join(&last)) {
        return;
    }
    for name in files.iter().filter(|name| !name.contains('/')) {
        let missing = fs::symlink_metadata(staging.join(name)).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        if missing && is_file(&folder.join(name)) {
            let _ = fs::remove_file(folder.join(name));
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

    #[test]
    fn a_set_appears_whole_and_an_unused_one_leaves_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        drop(FileSet::prepare(&folder, "results", |_| false).unwrap());
        assert_eq!(names(dir.path()), [""; 0]);
        let set = FileSet::prepare(&folder, "results", |_| false).unwrap();
        set.write("samples", b"s").unwrap();
        set.write("results", b"r").unwrap();
        let (samples, results) = set.publish(&["samples".to_owned()], "results").unwrap();
        assert_eq!((samples.len(), fs::read(results).unwrap()), (1, b"r".to_vec()));
        assert_eq!(names(&folder), ["results", "samples"]);
    }

    #[test]
    fn samples_that_a_killed_run_left_without_results_are_swept_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("samples_a_1.jsonl", "moved");
        write("samples_mine_1.jsonl", "not billon's");
        write(".results.billon-7-0/samples_b_1.jsonl", "not moved yet");
        write(".results.billon-7-0/results_1.json", "");
        let list = r#"{"files": ["samples_a_1.jsonl", "samples_b_1.jsonl", "../x"], "last": "results_1.json"}"#;
        write(".results.billon-7-0/.moving.json", list);
        write(".samples_c_1.jsonl.billon-9", "half");
        drop(FileSet::prepare(dir.path(), "results", |stem| stem.starts_with("samples_")).unwrap());
        assert_eq!(names(dir.path()), ["samples_mine_1.jsonl"]);
        // A run that was killed after its last file has left whole results.
        write("samples_d_2.jsonl", "");
        write("results_2.json", "");
        write(".results.billon-8-0/.moving.json", r#"{"files": ["samples_d_2.jsonl"], "last": "results_2.json"}"#);
        drop(FileSet::prepare(dir.path(), "results", |_| false).unwrap());
        assert_eq!(names(dir.path()), ["results_2.json", "samples_d_2.jsonl", "samples_mine_1.jsonl"]);
    }
}
