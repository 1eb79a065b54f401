//! Writing what was trained: an adapter, or a model directory.

use std::collections::BTreeMap;
use std::path::Path;

use super::checkpoint::{OPTIMIZER, RunState, STATE, moments_file, state_file};
use super::error::TrainError;
use super::log::TrainerState;
use super::optimiser::AdamW;
use crate::checkpoint::header::Header;
use crate::dtype::{DType, f32_to_bf16, f32_to_f16};
use crate::error::Result;
use crate::merge::output::files::COMPANION_FILES;
use crate::storage::hash::sha256_bytes;
use crate::storage::publish::StagingDir;
use crate::train::inject::TrainableModel;

/// Origin of the model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    pub directory: &'a Path,
    /// Reference to the base in the recipe.
    pub name: &'a str,
    /// Element type of its weights.
    pub dtype: DType,
}

/// Writes a checkpoint; it appears by one rename.
///
/// # Errors
/// I/O errors.
pub(crate) fn checkpoint(
    folder: &Path,
    trainable: &TrainableModel,
    optimiser: &AdamW,
    state: &RunState,
    trainer_state: &str,
    base: Base<'_>,
) -> Result<()> {
    finite(trainable, DType::F32)?;
    let staging = StagingDir::create(folder, true)?;
    let mut hashes = BTreeMap::new();
    let mut write = |name: &str, bytes: &[u8]| {
        hashes.insert(name.to_owned(), sha256_bytes(bytes));
        staging.write(name, bytes)
    };
    match trainable.adapter()? {
        Some(adapter) => {
            for (name, bytes) in adapter.files(base.name) {
                write(name, &bytes)?;
            }
        }
        None => {
            // Weights that training goes on from keep their full precision.
            write("model.safetensors", &weights(trainable, DType::F32)?)?;
            for (name, bytes) in companions(base, DType::F32)? {
                write(name, &bytes)?;
            }
        }
    }
    write(OPTIMIZER, &moments_file(&trainable.parameters, optimiser))?;
    write(TrainerState::FILE, trainer_state.as_bytes())?;
    staging.write(STATE, &state_file(state, &hashes)?)?;
    staging.publish()?;
    Ok(())
}

/// Writes the result and the final state beside config, logs and checkpoints. All of it appears in one exchange.
///
/// # Errors
/// I/O errors; the folder is then as it was.
pub(crate) fn result(out: &Path, trainable: &TrainableModel, base: Base<'_>, trainer_state: &str) -> Result<()> {
    finite(trainable, if trainable.lora.is_some() { DType::F32 } else { base.dtype })?;
    let staging = StagingDir::succeed(out)?;
    match trainable.adapter()? {
        Some(adapter) => adapter.write_into(&staging, base.name)?,
        None => {
            for (name, bytes) in companions(base, base.dtype)? {
                staging.write(name, &bytes)?;
            }
            staging.write("model.safetensors", &weights(trainable, base.dtype)?)?;
        }
    }
    staging.write(TrainerState::FILE, trainer_state.as_bytes())?;
    staging.publish()?;
    Ok(())
}

/// Refuses parameters that a file of this dtype would hold as infinities or NaN: a last update can overflow though
/// every loss before it was finite.
fn finite(trainable: &TrainableModel, dtype: DType) -> Result<(), TrainError> {
    let odd = |value: f32| match dtype {
        DType::F16 => f32_to_f16(value) & 0x7c00 == 0x7c00,
        DType::BF16 => f32_to_bf16(value) & 0x7f80 == 0x7f80,
        _ => !value.is_finite(),
    };
    for parameter in &trainable.parameters {
        if parameter.with_values(|values| values.iter().copied().any(odd))? {
            return Err(TrainError::Overflow { name: parameter.name.clone(), dtype });
        }
    }
    Ok(())
}

/// All parameters as one safetensors file, rounded once.
fn weights(trainable: &TrainableModel, dtype: DType) -> Result<Vec<u8>, TrainError> {
    let mut order: Vec<&super::parameter::Parameter> = trainable.parameters.iter().collect();
    order.sort_by(|a, b| a.name.cmp(&b.name));
    let shapes: Vec<Vec<u64>> =
        order.iter().map(|p| p.variable.dims().iter().map(|dim| *dim as u64).collect()).collect();
    let entries: Vec<(&str, DType, &[u64])> =
        order.iter().zip(&shapes).map(|(p, shape)| (p.name.as_str(), dtype, shape.as_slice())).collect();
    let mut bytes = Header::build(&entries);
    for parameter in order {
        parameter.with_values(|values| match dtype {
            DType::BF16 => bytes.extend(values.iter().flat_map(|value| f32_to_bf16(*value).to_le_bytes())),
            DType::F16 => bytes.extend(values.iter().flat_map(|value| f32_to_f16(*value).to_le_bytes())),
            _ => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        })?;
    }
    Ok(bytes)
}

/// Config and tokenizer of the base, the config with the dtype that is written.
fn companions(base: Base<'_>, dtype: DType) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = Vec::new();
    for &name in ["config.json"].iter().chain(COMPANION_FILES) {
        let path = base.directory.join(name);
        let mut bytes = match crate::storage::input::read(&path, crate::storage::input::LIST_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(TrainError::Checkpoint { path, reason: error.to_string() }.into()),
        };
        if name == "config.json" && dtype != base.dtype {
            bytes = with_dtype(&bytes, dtype);
        }
        files.push((name, bytes));
    }
    Ok(files)
}

/// The config with another dtype, its other keys in their order.
fn with_dtype(config: &[u8], dtype: DType) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(config) else { return config.to_vec() };
    let name = match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    };
    if let Some(object) = value.as_object_mut() {
        for key in ["torch_dtype", "dtype"] {
            if let Some(entry) = object.get_mut(key) {
                *entry = name.into();
            }
        }
    }
    serde_json::to_vec_pretty(&value).unwrap_or_else(|_| config.to_vec())
}
