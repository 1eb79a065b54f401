//! Checkpoints of a run: everything that the next step depends on.
//!
//! `checkpoint-<step>/` is a PEFT adapter (or a model directory) with `optimizer.safetensors` (both
//! moments of every parameter, f32), `trainer_state.json` and `billon_state.json`, which holds the SHA-256 of every
//! other file and of itself. Each appears by one rename. Order of the data and dropout are functions of seed and step,
//! so that no generator needs keeping.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::divergence::DivergenceWatch;
use super::error::TrainError;
use super::fingerprint::Fingerprint;
use super::gradient::StepLoss;
use super::inject::TrainableModel;
use super::log::TrainerState;
use super::optimiser::{AdamW, Moments};
use super::parameter::Parameter;
use crate::checkpoint::header::Header;
use crate::dtype::{DType, widen};
use crate::error::Result;
use crate::event::CancelFlag;
use crate::storage::hash::sha256_file;
use crate::storage::mapped::MappedFile;
use crate::storage::publish::remove_output;
use crate::storage::sealed::{SealError, seal, unseal};

/// The moments' file.
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
/// The rest of the state's file.
pub(crate) const STATE: &str = "billon_state.json";
/// Layout of the state file. 1 had neither checksums nor the base model's hashes.
const FORMAT: u64 = 2;

/// State besides parameters and moments that the next step depends on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunState {
    /// Optimiser steps taken.
    pub step: u64,
    pub fingerprint: Fingerprint,
    /// Whether weights are multiplied in tile registers (AMX), to other last bits than on CPUs without.
    pub tile_registers: bool,
    /// Tokens seen.
    pub tokens: u64,
    /// Trained tokens seen.
    pub trained_tokens: u64,
    /// Whether the run learns anything.
    pub watch: DivergenceWatch,
    /// Sums since the last log line.
    pub window: Window,
    /// The best evaluation so far: its step and value.
    pub best: Option<(u64, f64)>,
    /// Evaluations since then.
    pub evaluations_without_gain: u64,
    /// Whether this step's evaluation is still to be done.
    pub evaluation_due: bool,
    /// Seconds of training, earlier processes included.
    pub seconds: f64,
}

/// Sums over the steps since the last log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    /// Sum of the steps' mean losses.
    pub loss: f64,
    pub steps: u64,
    /// Trained tokens.
    pub targets: u64,
    /// Targets that were predicted right.
    pub correct: u64,
    /// Sum of entropies.
    pub entropy: f64,
}

impl Window {
    /// Adds the loss of a step.
    pub(super) fn add(&mut self, loss: &StepLoss) {
        if loss.targets > 0 {
            self.loss += loss.mean();
            self.steps += 1;
        }
        self.targets += loss.targets;
        self.correct += loss.correct;
        self.entropy += loss.entropy;
    }
}

/// Moments as a safetensors file.
#[must_use]
pub(crate) fn moments_file(parameters: &[Parameter], optimiser: &AdamW) -> Vec<u8> {
    let mut entries: Vec<(String, Vec<u64>, &[f32])> = Vec::new();
    for (parameter, moments) in parameters.iter().zip(&optimiser.moments) {
        let shape: Vec<u64> = parameter.variable.dims().iter().map(|dim| *dim as u64).collect();
        entries.push((format!("exp_avg.{}", parameter.name), shape.clone(), &moments.first));
        entries.push((format!("exp_avg_sq.{}", parameter.name), shape, &moments.second));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let header: Vec<(&str, DType, &[u64])> =
        entries.iter().map(|(name, shape, _)| (name.as_str(), DType::F32, shape.as_slice())).collect();
    let mut bytes = Header::build(&header);
    for (.., values) in &entries {
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

/// Reads named f32 tensors of the lengths given; each must be there.
///
/// # Errors
/// A defect of the file, or a [`TrainError::Checkpoint`] naming the tensor.
pub(crate) fn read_tensors(path: &Path, wanted: &[(String, usize)]) -> Result<Vec<Vec<f32>>> {
    let fault = |reason: String| TrainError::Checkpoint { path: path.into(), reason };
    let mapped = MappedFile::open(path).map_err(|error| fault(error.to_string()))?;
    let header = Header::parse(path, mapped.bytes(), mapped.len())?;
    let mut tensors = Vec::with_capacity(wanted.len());
    for (name, length) in wanted {
        let info = header
            .tensors
            .iter()
            .find(|info| info.name == *name)
            .ok_or_else(|| fault(format!("tensor `{name}` is missing")))?;
        let elements = info.shape.iter().product::<u64>() as usize;
        if elements != *length || !info.dtype.is_float() {
            return Err(fault(format!("tensor `{name}` has shape {:?}, expected {length} values", info.shape)).into());
        }
        let mut values = vec![0.0; elements];
        widen(info.dtype, mapped.slice(info.start..info.end), &mut values);
        tensors.push(values);
    }
    mapped.unchanged()?;
    Ok(tensors)
}

/// Restores the weights of a checkpoint of a whole model.
///
/// # Errors
/// A file that can't be read or does not fit the parameters.
pub(super) fn restore_model(folder: &Path, trainable: &TrainableModel) -> Result<()> {
    let wanted: Vec<(String, usize)> = trainable.parameters.iter().map(|p| (p.name.clone(), p.elements())).collect();
    let tensors = read_tensors(&folder.join("model.safetensors"), &wanted)?;
    for (parameter, values) in trainable.parameters.iter().zip(tensors) {
        parameter.set(values)?;
    }
    Ok(trainable.refresh()?)
}

/// The state file of a checkpoint whose other files have these SHA-256.
///
/// # Errors
/// [`TrainError::State`] when the state is no JSON, as a number that is not finite.
pub(crate) fn state_file(state: &RunState, files: &BTreeMap<String, String>) -> Result<Vec<u8>, TrainError> {
    let run = serde_json::to_value(state).map_err(|source| TrainError::State { source })?;
    let document = Map::from_iter([
        ("format".to_owned(), FORMAT.into()),
        ("billon".to_owned(), env!("CARGO_PKG_VERSION").into()),
        ("files".to_owned(), files.iter().map(|(name, hash)| (name.clone(), Value::from(hash.as_str()))).collect()),
        ("run".to_owned(), run),
    ]);
    Ok(seal(document).into_bytes())
}

/// The state of a checkpoint, all files of which have been found to be as they were written; `None` when cancelled.
///
/// # Errors
/// [`TrainError::Damaged`] naming the file that is not, [`TrainError::OldCheckpoint`] for the layout of another version.
pub(crate) fn read(folder: &Path, cancel: &CancelFlag) -> Result<Option<RunState>, TrainError> {
    let path = folder.join(STATE);
    let damaged = |path: &Path, reason: String| TrainError::Damaged { path: path.to_owned(), reason };
    let text = crate::storage::input::read(&path, crate::storage::input::LIST_BYTES)
        .map_err(|error| damaged(&path, error.to_string()))?;
    let mut document = match unseal(&text) {
        Ok(document) => document,
        Err(SealError::Unsealed) => {
            return Err(TrainError::OldCheckpoint { path, wrote: None, format: 1, current: FORMAT });
        }
        Err(error) => return Err(damaged(&path, error.to_string())),
    };
    let format = document.get("format").and_then(Value::as_u64).unwrap_or(0);
    let wrote = document.get("billon").and_then(Value::as_str).map(str::to_owned);
    let other = |wrote| TrainError::OldCheckpoint { path: path.clone(), wrote, format, current: FORMAT };
    if format != FORMAT {
        return Err(other(wrote));
    }
    let malformed = || damaged(&path, "it is no state of a training run".to_owned());
    let Some(Value::Object(files)) = document.remove("files") else { return Err(malformed()) };
    for (name, expected) in &files {
        let file = folder.join(name);
        match sha256_file(&file, cancel) {
            Ok(Some(found)) if *expected == found => {}
            Ok(Some(_)) => {
                return Err(damaged(&file, format!("its contents do not have the SHA-256 that {STATE} names")));
            }
            Ok(None) => return Ok(None),
            Err(error) => return Err(damaged(&file, error.to_string())),
        }
    }
    let run = document.remove("run").unwrap_or(Value::Null);
    // It is whole, so what is not understood was written by a version that knew other keys.
    let is_own = wrote.as_deref() == Some(env!("CARGO_PKG_VERSION"));
    serde_json::from_value(run).map(Some).map_err(|_| if is_own { malformed() } else { other(wrote) })
}

/// The lines that a checkpoint's run had logged.
///
/// # Errors
/// [`TrainError::Damaged`] when they can't be read.
pub(crate) fn history(folder: &Path) -> Result<Vec<Map<String, Value>>, TrainError> {
    #[derive(Deserialize)]
    struct Lines {
        log_history: Vec<Map<String, Value>>,
    }
    let path = folder.join(TrainerState::FILE);
    let damaged = |reason: String| TrainError::Damaged { path: path.clone(), reason };
    let text = crate::storage::input::read(&path, crate::storage::input::LIST_BYTES)
        .map_err(|error| damaged(error.to_string()))?;
    let lines: Lines = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    Ok(lines.log_history)
}

/// Brings the moments back; the parameters are the adapter's or the model's own files.
///
/// # Errors
/// A [`TrainError::Checkpoint`] for moments that do not fit the parameters.
pub(crate) fn restore_moments(
    folder: &Path,
    parameters: &[Parameter],
    optimiser: &mut AdamW,
    steps: u64,
) -> Result<()> {
    let names: Vec<(String, usize)> = parameters
        .iter()
        .flat_map(|p| ["exp_avg", "exp_avg_sq"].map(|moment| (format!("{moment}.{}", p.name), p.elements())))
        .collect();
    let mut tensors = read_tensors(&folder.join(OPTIMIZER), &names)?.into_iter();
    optimiser.moments.clear();
    while let (Some(first), Some(second)) = (tensors.next(), tensors.next()) {
        optimiser.moments.push(Moments { first, second });
    }
    optimiser.steps = steps;
    Ok(())
}

/// Complete checkpoints of a run, by step.
#[must_use]
pub(crate) fn list(out: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(out).into_iter().flatten().flatten();
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse::<u64>().ok();
    let mut found: Vec<(u64, PathBuf)> =
        entries.map(|entry| entry.path()).filter_map(|path| Some((step(&path)?, path))).collect();
    found.retain(|(_, path)| path.join(STATE).is_file());
    found.sort();
    found
}

/// Removes the oldest checkpoints beyond `limit`, the best one spared. Each goes by one rename; one that holds files of
/// others stays.
pub(crate) fn prune(out: &Path, limit: usize, best: Option<u64>) {
    let all = list(out);
    let excess = all.len().saturating_sub(limit.max(1));
    for (_, path) in all.into_iter().filter(|(step, _)| Some(*step) != best).take(excess) {
        // What can't be removed is left: a full disk says so at the next checkpoint.
        let _ = remove_output(&path);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_of_another_version_says_which_one_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        for (format, version) in [(FORMAT + 1, "9.9.9"), (FORMAT, "0.0.1")] {
            let document = Map::from_iter([
                ("format".to_owned(), json!(format)),
                ("billon".to_owned(), json!(version)),
                ("files".to_owned(), json!({})),
                ("run".to_owned(), json!({"step": 1, "a key of that version": 2})),
            ]);
            std::fs::write(folder.path().join(STATE), seal(document)).unwrap();
            let error = read(folder.path(), &CancelFlag::new()).unwrap_err().to_string();
            let expected = format!("another version of billon ({version}, layout {format}, this one reads {FORMAT})");
            assert!(error.ends_with(&expected), "{error}");
        }
    }
}
