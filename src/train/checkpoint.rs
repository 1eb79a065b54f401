//! Checkpoints of a run: everything that the next step depends on.
//!
//! `checkpoint-<step>/` is a PEFT adapter (or a model directory) with `optimizer.safetensors` (both
//! moments of every parameter, f32), `billon_state.json` and `trainer_state.json`. Each appears by
//! one rename. Order of the data and dropout are functions of seed and step, so that no generator
//! needs keeping.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::optimiser::{AdamW, Moments};
use super::parameter::Parameter;
use crate::checkpoint::header::Header;
use crate::checkpoint::mapped::MappedFile;
use crate::checkpoint::writer::remove_output;
use crate::dtype::{DType, widen};
use crate::error::Result;

/// The moments' file.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// The rest of the state's file.
pub const STATE: &str = "billon_state.json";

/// What besides parameters and moments the next step depends on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Optimiser steps taken.
    pub step: u64,
    /// SHA-256 of the recipe and of the data's tokens.
    pub fingerprint: String,
    /// Tokens seen.
    pub tokens: u64,
    /// Trained tokens seen.
    pub trained_tokens: u64,
    /// Losses of the last steps, for the watch on divergence.
    pub recent: Vec<f64>,
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
pub struct Window {
    /// Of the steps' mean losses.
    pub loss: f64,
    /// Steps.
    pub steps: u64,
    /// Trained tokens.
    pub targets: u64,
    /// Right ones.
    pub correct: u64,
    /// Of entropies.
    pub entropy: f64,
}

/// Moments as a safetensors file.
#[must_use]
pub fn moments_file(parameters: &[Parameter], optimiser: &AdamW) -> Vec<u8> {
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
pub fn read_tensors(path: &Path, wanted: &[(String, usize)]) -> Result<Vec<Vec<f32>>> {
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
    Ok(tensors)
}

fn state(folder: &Path) -> Result<RunState, TrainError> {
    let path = folder.join(STATE);
    let fault = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
    let text = crate::input::read(&path, crate::input::LIST_BYTES).map_err(|error| fault(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))
}

/// Whether a checkpoint is one of the run with this fingerprint.
#[must_use]
pub fn belongs(folder: &Path, fingerprint: &str) -> bool {
    state(folder).is_ok_and(|state| state.fingerprint == fingerprint)
}

/// Brings moments and state back; the parameters are the adapter's or the model's own files.
///
/// # Errors
/// A [`TrainError::Checkpoint`] for files that do not fit this run.
pub fn restore(folder: &Path, parameters: &[Parameter], optimiser: &mut AdamW, fingerprint: &str) -> Result<RunState> {
    let state = state(folder)?;
    if state.fingerprint != fingerprint {
        let reason = "the run began with another recipe, model or data".to_owned();
        return Err(TrainError::Checkpoint { path: folder.join(STATE), reason }.into());
    }
    let names: Vec<(String, usize)> = parameters
        .iter()
        .flat_map(|p| ["exp_avg", "exp_avg_sq"].map(|moment| (format!("{moment}.{}", p.name), p.elements())))
        .collect();
    let mut tensors = read_tensors(&folder.join(OPTIMIZER), &names)?.into_iter();
    optimiser.moments.clear();
    while let (Some(first), Some(second)) = (tensors.next(), tensors.next()) {
        optimiser.moments.push(Moments { first, second });
    }
    optimiser.steps = state.step;
    Ok(state)
}

/// Complete checkpoints of a run, by step.
#[must_use]
pub fn list(out: &Path) -> Vec<(u64, PathBuf)> {
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
pub fn prune(out: &Path, limit: usize, best: Option<u64>) {
    let all = list(out);
    let excess = all.len().saturating_sub(limit.max(1));
    for (_, path) in all.into_iter().filter(|(step, _)| Some(*step) != best).take(excess) {
        // What can't be removed is left: a full disk says so at the next checkpoint.
        let _ = remove_output(&path);
    }
}
