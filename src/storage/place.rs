//! Resolution of an output directory: its real path, and whether it may be there.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatxAttributes, StatxFlags};

use super::write_error::{WriteError, failed};

/// An output directory's place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Free of links, `.` and `..`, whether it exists or not.
    pub path: PathBuf,
    pub parent: PathBuf,
    pub name: OsString,
    /// Metadata of the present directory; `None` when there is none.
    pub found: Option<Metadata>,
    /// Whether the directory itself has to stay, so that files are moved into it: a mount point, the current directory,
    /// or a directory whose parent can't be written.
    pub fixed: bool,
}

impl Place {
    /// Finds a target that is a directory, or could become one.
    pub(super) fn find(target: &Path) -> Result<Self, WriteError> {
        let path = resolve(target)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(WriteError::NoName { target: target.into() });
        };
        let found = match fs::metadata(&path) {
            Ok(found) if found.is_dir() => Some(found),
            Ok(_) => return Err(WriteError::TargetNotADirectory { target: target.into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(WriteError::Io { path: target.into(), source }),
        };
        let fixed = found.as_ref().is_some_and(|found| {
            is_mount_point(&path, found, parent)
                || current_dir().is_some_and(|here| holds(found, &here))
                || rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).is_err()
                || is_stuck(found, parent)
        });
        Ok(Self { parent: parent.into(), name: name.into(), found, fixed, path })
    }

    /// The folder that the output is prepared in: on the file system that it will be on.
    pub(super) fn workshop(&self) -> &Path {
        if self.fixed { &self.path } else { &self.parent }
    }

    /// Refuses directories whose loss nobody wants: home and what it is in, and, where files are `replaced`, the current
    /// directory and what it is in.
    pub(super) fn refuse_in_use(&self, replaced: bool) -> Result<(), WriteError> {
        let Some(found) = &self.found else { return Ok(()) };
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let inside = |place: Option<PathBuf>| {
            place.and_then(|place| fs::canonicalize(place).ok()).is_some_and(|place| holds(found, &place))
        };
        let what = if inside(home) {
            "the home directory, or holds it"
        } else if replaced && inside(current_dir()) {
            "the current directory, or holds it"
        } else {
            return Ok(());
        };
        Err(WriteError::TargetInUse { target: self.path.clone(), what })
    }

    /// Refuses a target that is an input, or holds one: by its own name, or as what a link leads to.
    pub(super) fn refuse_inputs(&self, inputs: &[PathBuf]) -> Result<(), WriteError> {
        let Some(found) = &self.found else { return Ok(()) };
        for input in inputs {
            let Ok(real) = fs::canonicalize(input) else { continue };
            let link = fs::canonicalize(input.parent().unwrap_or(Path::new("/"))).ok();
            if holds(found, &real) || link.is_some_and(|folder| holds(found, &folder)) {
                return if fs::metadata(&real).is_ok_and(|input| is(found, &input)) {
                    Err(WriteError::TargetIsInput { target: self.path.clone() })
                } else {
                    Err(WriteError::TargetHoldsInput { target: self.path.clone(), input: input.clone() })
                };
            }
        }
        Ok(())
    }
}

/// The path without links, `.` and `..`. A folder that does not exist is not made for it: `nope/../out` is `out`.
pub(super) fn resolve(target: &Path) -> Result<PathBuf, WriteError> {
    if target.as_os_str().is_empty() {
        return Err(WriteError::NoName { target: target.into() });
    }
    let absolute = std::env::current_dir().map_err(failed(target))?.join(target);
    let (mut real, mut missing) = (PathBuf::from("/"), Vec::new());
    for component in absolute.components() {
        match component {
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            Component::ParentDir => {
                if missing.pop().is_none() {
                    real.pop();
                }
            }
            Component::Normal(name) if missing.is_empty() => {
                let next = real.join(name);
                match fs::canonicalize(&next) {
                    Ok(path) => real = path,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        if fs::symlink_metadata(&next).is_ok() {
                            return Err(WriteError::DanglingLink { path: next });
                        }
                        missing.push(name.to_owned());
                    }
                    Err(source) => return Err(WriteError::Io { path: target.into(), source }),
                }
            }
            Component::Normal(name) => missing.push(name.to_owned()),
        }
    }
    real.extend(missing);
    Ok(real)
}

fn current_dir() -> Option<PathBuf> {
    fs::canonicalize(std::env::current_dir().ok()?).ok()
}

fn is(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn same(directory: &Metadata, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| is(directory, &found))
}

/// Whether a directory is a path or above it. Compared by device and inode: a bind mount has another name.
fn holds(directory: &Metadata, path: &Path) -> bool {
    path.ancestors().any(|ancestor| same(directory, ancestor))
}

/// Whether the parent's sticky bit keeps others than the owner from renaming a directory, as in the system's folder for
/// temporary files.
fn is_stuck(found: &Metadata, parent: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    let user = rustix::process::geteuid();
    fs::metadata(parent).is_ok_and(|parent| {
        let owners = [found.uid(), parent.uid()];
        parent.mode() & STICKY != 0 && !user.is_root() && !owners.contains(&user.as_raw())
    })
}

/// Whether a directory can't be renamed because something is mounted there.
fn is_mount_point(path: &Path, found: &Metadata, parent: &Path) -> bool {
    let root = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
        .ok()
        .is_some_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    // Kernels before 5.8 don't tell; they show at least another device.
    root || fs::metadata(parent).is_ok_and(|parent| parent.dev() != found.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_through_links_and_missing_folders() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).unwrap();
        std::os::unix::fs::symlink(root.join("nowhere"), root.join("dangling")).unwrap();
        for (path, expected) in [
            ("a/b", "a/b"),
            ("a/./b/", "a/b"),
            ("nope/../a", "a"),
            ("nope/deeper/../../a/b", "a/b"),
            ("nope/../link", "a/b"),
            ("link/..", "a"),
            ("link/new/x", "a/b/new/x"),
            ("nope/x", "nope/x"),
        ] {
            assert_eq!(resolve(&root.join(path)).unwrap(), root.join(expected), "{path}");
        }
        assert!(matches!(resolve(&root.join("dangling")), Err(WriteError::DanglingLink { .. })));
        assert!(matches!(resolve(Path::new("")), Err(WriteError::NoName { .. })));
        assert_eq!(names(&root), ["a", "dangling", "link"], "nothing is made");
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn inputs_are_found_behind_links_and_below_the_target() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("repo/blobs")).unwrap();
        fs::create_dir_all(root.join("repo/snapshots/1")).unwrap();
        fs::write(root.join("repo/blobs/x"), "weights").unwrap();
        let file = root.join("repo/snapshots/1/model.safetensors");
        std::os::unix::fs::symlink("../../blobs/x", &file).unwrap();
        let refused = |target: &str| {
            Place::find(&root.join(target)).unwrap().refuse_inputs(&[root.join("repo/snapshots/1"), file.clone()])
        };
        assert!(matches!(refused("repo/snapshots/1"), Err(WriteError::TargetIsInput { .. })));
        for holder in ["repo", "repo/snapshots", "repo/blobs", "nope/../repo/blobs", "."] {
            assert!(matches!(refused(holder), Err(WriteError::TargetHoldsInput { .. })), "{holder}");
        }
        refused("repo/other").unwrap();
        fs::create_dir(root.join("beside")).unwrap();
        refused("beside").unwrap();
    }
}
