//! Manifest of the files in a directory that billon wrote.
//!
//! A directory is recognised by the list of its files: `billon.manifest.json`, or a merge's `billon.lock.json`, which has
//! one too. `--force` removes what these lists name and nothing else; a directory without them is not billon's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::leftovers::{read_regular, staged_stem};

/// List of an output's files.
pub(crate) const MANIFEST_FILE: &str = "billon.manifest.json";
/// A merge's lock.
pub(crate) const LOCK_FILE: &str = "billon.lock.json";
/// Versions of the lock's format that are read. Digests of version 1 are all SHA-256; version 2 has BLAKE3 too.
pub(crate) const LOCK_VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
/// Locked by the process at work in a folder.
pub(super) const FOLDER_LOCK: &str = ".lock";

const VERSION: u32 = 1;
/// Most bytes of a list that are read: locks name every tensor.
const MOST_BYTES: u64 = 1 << 30;

/// Files of a training run and its checkpoints, by which those of version 0.1, which have no list, are recognised.
const TRAINING_FILES: &[&str] = &[
    "config.resolved.yaml",
    "billon_prompts.json",
    "trainer_log.jsonl",
    "trainer_state.json",
    "billon_state.json",
    "optimizer.safetensors",
    "adapter_config.json",
    "adapter_model.safetensors",
    "README.md",
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "vocab.json",
    "vocab.txt",
    "runs/events.out.tfevents.0.billon",
];

/// The list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    #[serde(rename = "manifest_version")]
    version: u32,
    billon_version: String,
    /// Whether the output is whole: a training run, or files on their way into a mount point, are not yet.
    pub complete: bool,
    /// Paths from the directory, in order.
    pub files: BTreeSet<String>,
}

impl Manifest {
    pub(super) fn new(files: impl IntoIterator<Item = String>, complete: bool) -> Self {
        let files = files.into_iter().collect();
        Self { version: VERSION, billon_version: env!("CARGO_PKG_VERSION").to_owned(), complete, files }
    }

    pub(super) fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers are JSON");
        text.push('\n');
        text
    }

    fn read(directory: &Path) -> Option<Self> {
        let manifest: Self =
            serde_json::from_slice(&read_regular(&directory.join(MANIFEST_FILE), MOST_BYTES).ok()?).ok()?;
        (manifest.version == VERSION).then_some(manifest)
    }
}

/// The part of a lock that lists files; the rest is the merge's.
#[derive(Deserialize)]
struct LockedFiles {
    lock_version: u32,
    outputs: serde_json::Map<String, serde_json::Value>,
}

/// The files that a directory's lists name; `None` for a directory without a list.
fn listed(directory: &Path) -> Option<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut marked = false;
    if let Some(manifest) = Manifest::read(directory) {
        marked = true;
        files.extend(manifest.files.into_iter().map(PathBuf::from));
        files.insert(MANIFEST_FILE.into());
    }
    let lock = read_regular(&directory.join(LOCK_FILE), MOST_BYTES).ok();
    if let Some(lock) = lock.and_then(|text| serde_json::from_slice::<LockedFiles>(&text).ok())
        && LOCK_VERSIONS.contains(&lock.lock_version)
    {
        marked = true;
        files.extend(lock.outputs.into_iter().map(|(name, _)| PathBuf::from(name)));
        files.insert(LOCK_FILE.into());
    }
    let is_file = |name: &str| fs::symlink_metadata(directory.join(name)).is_ok_and(|found| found.is_file());
    if !marked && (is_file("billon_state.json") || (is_file("config.resolved.yaml") && is_file("trainer_log.jsonl"))) {
        marked = true;
        files.extend(TRAINING_FILES.iter().map(PathBuf::from));
    }
    marked.then_some(files)
}

/// Contents of a directory.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Whether the directory has a list of billon's.
    pub marked: bool,
    /// Files that the lists name, from the directory.
    pub own: Vec<PathBuf>,
    /// Folders around them, outer ones first.
    pub folders: Vec<PathBuf>,
    /// Everything else. Nothing below a foreign folder is named.
    pub foreign: Vec<PathBuf>,
}

impl Survey {
    /// Looks at a directory. Links are not followed: billon makes none, so each is foreign.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let list = listed(directory);
        let mut survey = Self { marked: list.is_some(), ..Self::default() };
        let list = list.unwrap_or_else(BTreeSet::new);
        survey.walk(directory, Path::new(""), &list)?;
        survey.own.sort();
        survey.foreign.sort();
        Ok(survey)
    }

    fn walk(&mut self, root: &Path, below: &Path, list: &BTreeSet<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(root.join(below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            let kind = entry.file_type()?;
            let top = below.as_os_str().is_empty();
            let known = |path: &Path| list.contains(path);
            let lock = |path: &Path| {
                top && path.as_os_str() == FOLDER_LOCK && entry.metadata().is_ok_and(|found| found.len() == 0)
            };
            if kind.is_file() && (known(&path) || lock(&path)) {
                self.own.push(path);
            } else if kind.is_dir() && list.iter().any(|file| file.starts_with(&path) && *file != path) {
                self.folders.push(path.clone());
                self.walk(root, &path, list)?;
            } else if kind.is_dir()
                && self.marked
                && top
                && is_checkpoint(&path)
                && let Some(inner) = listed(&root.join(&path))
            {
                self.folders.push(path.clone());
                self.walk(root, &path, &inner.into_iter().map(|file| path.join(file)).collect())?;
            } else {
                self.foreign.push(path);
            }
        }
        Ok(())
    }

    /// Whether there is nothing to lose.
    pub(super) fn is_empty(&self) -> bool {
        self.foreign.is_empty() && self.own.iter().all(|path| path.as_os_str() == FOLDER_LOCK)
    }

    /// Removes billon's files, what loaders look for first and the lists last, then the folders that are empty.
    pub(super) fn remove_own(&self, directory: &Path) -> io::Result<()> {
        let mut files: Vec<&PathBuf> = self.own.iter().collect();
        files.sort_by_key(|path| removal_rank(path));
        for path in files {
            gone(fs::remove_file(directory.join(path)))?;
        }
        for path in self.folders.iter().rev() {
            match fs::remove_dir(directory.join(path)) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                done => gone(done)?,
            }
        }
        Ok(())
    }
}

/// `checkpoint-STEP`, which a training run's folder may hold with a list of its own.
fn is_checkpoint(path: &Path) -> bool {
    let step = path.to_str().and_then(|name| name.strip_prefix("checkpoint-"));
    step.is_some_and(|step| !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit()))
}

/// Order of removal: a directory that is half removed can't be loaded, and is still recognised.
fn removal_rank(path: &Path) -> u8 {
    if is_list(path) { 2 } else { u8::from(!is_config(path)) }
}

/// Whether a file is one of the lists.
pub(super) fn is_list(path: &Path) -> bool {
    path == Path::new(MANIFEST_FILE) || path == Path::new(LOCK_FILE)
}

/// Whether loaders find a model or an adapter by this file.
pub(super) fn is_config(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "config.json" || name == "adapter_config.json")
}

/// Whether a run's leftovers under this stem are billon's in a folder that billon works in.
pub(super) fn is_own_stem(stem: &str) -> bool {
    is_checkpoint(Path::new(stem)) || TRAINING_FILES.contains(&stem) || stem == MANIFEST_FILE
}

/// Every file below a directory but leftovers, from it, in order.
pub(super) fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(directory.join(&folder))? {
            let entry = entry?;
            if staged_stem(&entry.file_name()).is_some() {
                continue;
            }
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}

fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn foreign(root: &Path) -> Vec<String> {
        Survey::of(root).unwrap().foreign.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn what_no_list_names_is_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "config.json", "{}");
        write(root, "runs/log", "");
        assert_eq!(foreign(root), ["config.json", "runs"], "no list, nothing known");
        write(root, MANIFEST_FILE, &Manifest::new(["config.json", "runs/log"].map(String::from), true).text());
        assert_eq!(foreign(root), [""; 0]);
        write(root, ".lock", "");
        write(root, "runs/notes", "");
        write(root, "checkpoint-3/optimizer.safetensors", "");
        write(root, "thesis/chapter.tex", "");
        std::os::unix::fs::symlink("/", root.join("link")).unwrap();
        assert_eq!(foreign(root), ["checkpoint-3", "link", "runs/notes", "thesis"]);
        write(root, "checkpoint-3/billon_state.json", "{}");
        assert_eq!(foreign(root), ["link", "runs/notes", "thesis"]);
        write(root, "checkpoint-3/notes", "");
        write(root, "merged/billon.lock.json", r#"{"lock_version": 1, "outputs": {}}"#);
        assert_eq!(foreign(root), ["checkpoint-3/notes", "link", "merged", "runs/notes", "thesis"]);

        let survey = Survey::of(root).unwrap();
        survey.remove_own(root).unwrap();
        let left = ["checkpoint-3", "link", "merged", "runs", "thesis"];
        assert_eq!(foreign(root), left, "only billon's files went");
    }

    #[test]
    fn a_lock_lists_files_and_a_list_of_the_future_does_not() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "model.safetensors", "");
        write(
            dir.path(),
            LOCK_FILE,
            r#"{"lock_version": 1, "stages": [], "outputs": {"model.safetensors": {"bytes": 0}}}"#,
        );
        assert_eq!(foreign(dir.path()), [""; 0]);
        write(dir.path(), LOCK_FILE, r#"{"lock_version": 9, "outputs": {"model.safetensors": {"bytes": 0}}}"#);
        assert_eq!(foreign(dir.path()), [LOCK_FILE, "model.safetensors"]);
    }
}
