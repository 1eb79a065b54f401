//! The checkpoint that a run goes on from: the last one that is whole and belongs to it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::checkpoint::{self, RunState};
use super::error::TrainError;
use super::fingerprint::Fingerprint;
use crate::error::{Cancelled, Result};
use crate::event::Progress;

/// A checkpoint to go on from.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub folder: PathBuf,
    /// State besides parameters and moments.
    pub state: RunState,
    /// The lines that were logged up to it.
    pub history: Vec<Map<String, Value>>,
}

/// Conditions under which a checkpoint is used.
pub(crate) struct ResumeConditions<'a> {
    /// Fingerprint of the run as it is now.
    pub fingerprint: &'a Fingerprint,
    /// Whether checkpoints of other runs and damaged ones are passed over instead of refused.
    pub force: bool,
    /// Whether the run ends with the best checkpoint's weights, which must then be whole, too.
    pub ends_with_best: bool,
}

/// The last usable one of the checkpoints `found`, which are in order of step.
///
/// A damaged one is passed over with a warning: what it held is computed again from the one before.
///
/// # Errors
/// Unless forced, checkpoints of another run or version, and damage where no checkpoint before it is whole; `Cancelled`.
pub(crate) fn find(
    found: &[(u64, PathBuf)],
    wanted: &ResumeConditions<'_>,
    progress: Progress<'_>,
) -> Result<Option<Resumed>> {
    let mut damage = None;
    for (step, folder) in found.iter().rev() {
        match usable(*step, folder, wanted, progress) {
            Ok(Some(state)) => {
                let history = checkpoint::history(folder)?;
                return Ok(Some(Resumed { folder: folder.clone(), state, history }));
            }
            Ok(None) => return Err(Cancelled.into()),
            Err(error @ TrainError::Damaged { .. }) => {
                progress.warn(format!("{error}; the run does not go on from checkpoint-{step}"));
                damage = damage.or(Some(error));
            }
            // An experiment trains again what has changed; the plan has said why.
            Err(TrainError::OtherRun { .. }) if wanted.force => {}
            Err(error @ TrainError::OldCheckpoint { .. }) if wanted.force => {
                progress.warn(format!("{error}: training starts over"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    match damage {
        Some(error) if !wanted.force => Err(error.into()),
        _ => Ok(None),
    }
}

/// The state of a checkpoint that can be resumed; `None` when cancelled.
fn usable(
    step: u64,
    folder: &Path,
    wanted: &ResumeConditions<'_>,
    progress: Progress<'_>,
) -> Result<Option<RunState>, TrainError> {
    let Some(state) = checkpoint::read(folder, progress.cancel)? else { return Ok(None) };
    if state.fingerprint != *wanted.fingerprint {
        let changes = wanted.fingerprint.changes(&state.fingerprint);
        return Err(TrainError::OtherRun { folder: folder.to_owned(), changes });
    }
    if let Some((best, _)) = state.best.filter(|(best, _)| wanted.ends_with_best && *best != step) {
        let best = folder.with_file_name(format!("checkpoint-{best}"));
        return Ok(checkpoint::read(&best, progress.cancel)?.map(|_| state));
    }
    Ok(Some(state))
}
