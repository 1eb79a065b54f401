//! An earlier output that stays at hand while a new one works in its place.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::leftovers;
use super::manifest::{FOLDER_LOCK, Survey};
use super::publish::{checked, sync_dir};
use super::replaced::discard;
use super::staging::StagingDir;
use super::write_error::{WriteError, failed};

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
