//! The folder of a run: nobody else's, one process at a time, its result all at once.
//!
//! Checkpoints and logs grow in it while a run is at work; config, result and final state come in one exchange at the
//! end. A run that starts over puts the earlier one aside first and brings it back where it leaves nothing to go on from.

use std::path::{Path, PathBuf};

use super::checkpoint;
use super::error::TrainError;
use super::log::{EVENT_FILE, LOG_FILE};
use super::options::TrainOptions;
use super::prompt_record;
use crate::error::Result;
use crate::storage::folder_lock::FolderLock;
use crate::storage::former::Former;
use crate::storage::publish::{check_target, mark_folder, refuse_inputs, sweep_folder};

/// The recipe as it was resolved.
pub(super) const CONFIG_FILE: &str = "config.resolved.yaml";
/// Files that are there before the result is.
const GROWING: &[&str] = &[CONFIG_FILE, LOG_FILE, EVENT_FILE, prompt_record::FILE];

/// Refuses a folder that this run may not write to. `inputs` are what its bytes come from.
///
/// # Errors
/// A run that is there already, files of others, inputs.
pub(super) fn check(options: &TrainOptions, model: &Path, inputs: &[PathBuf]) -> Result<()> {
    let out = &options.out;
    refuse_inputs(out, &[model.to_owned()])?;
    let found = checkpoint::list(out);
    if options.resume && !options.force && found.is_empty() {
        return Err(TrainError::NothingToResume { out: out.clone() }.into());
    }
    if !options.resume && !options.force && (!found.is_empty() || out.join(LOG_FILE).exists()) {
        return Err(TrainError::OutExists { out: out.clone() }.into());
    }
    if !options.resume {
        refuse_inputs(out, inputs)?;
        check_target(out, options.force)?;
    }
    Ok(())
}

/// A run's folder while it works there.
#[derive(Debug)]
pub(super) struct RunFolder {
    out: PathBuf,
    former: Option<Former>,
    _alone: FolderLock,
}

impl RunFolder {
    /// Makes and locks the folder, and removes what killed runs left. A run that does not go on from a checkpoint
    /// starts with an empty folder.
    ///
    /// # Errors
    /// Another process at work there; files of others; what the operating system says.
    pub(super) fn enter(options: &TrainOptions, inputs: &[PathBuf], goes_on: bool) -> Result<Self> {
        let out = options.out.clone();
        if !goes_on {
            refuse_inputs(&out, inputs)?;
            check_target(&out, options.force)?;
        }
        let alone = FolderLock::take(&out)?;
        sweep_folder(&out);
        let former = if goes_on { None } else { Former::set_aside(&out)? };
        let folder = Self { out, former, _alone: alone };
        mark_folder(&folder.out, GROWING)?;
        Ok(folder)
    }

    /// Lets go of the earlier run: the new one stays, whatever happens now.
    pub(super) fn done(mut self) {
        self.former = None;
    }
}

/// A run that ends early, however it does, gives the folder back to the earlier one, unless there is something to resume.
impl Drop for RunFolder {
    fn drop(&mut self) {
        if let Some(former) = self.former.take().filter(|_| checkpoint::list(&self.out).is_empty()) {
            // An exchange of two names that was possible a while ago; where it is not any more, nothing is left to do.
            let _ = former.restore();
        }
    }
}
