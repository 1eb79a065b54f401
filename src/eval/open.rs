//! A model directory, or a merge in memory, opened for evaluation: decoder, tokenizer, identity.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::adapter_companions::warn_of_differences;
use super::identity::{ModelIdentity, file_hashes, is_model_file};
use super::local::{LocalModel, LocalOptions};
use crate::checkpoint::{ModelDir, Tensor, TensorSource};
use crate::compute::nn::WeightDtype;
use crate::error::Result;
use crate::event::Progress;
use crate::lora::Adapter;
use crate::merge::MergedModel;
use crate::model::{Decoder, DecoderOptions, WeightPool, WeightedAdapter};
use crate::storage::hash::HashCache;
use crate::tokenizer::Tokenizer;

/// An adapter folder and its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterChoice {
    /// The PEFT adapter's folder.
    pub path: PathBuf,
    /// Factor of the adapter's update.
    pub weight: f32,
}

/// A model ready to be asked.
pub struct OpenedModel {
    pub model: LocalModel,
    pub tokenizer: Arc<Tokenizer>,
    /// Identity of the model for the cache; the chat template is the caller's to add.
    pub identity: ModelIdentity,
    /// Parameters of the decoder, those of adapters not counted.
    pub parameters: u64,
}

/// Opens a Hugging Face model directory with adapters added to its weights; what they leave alone is shared by `pool`.
///
/// # Errors
/// Faults of the checkpoint, the config, the tokenizer or an adapter; `Cancelled`.
pub fn open_model(
    directory: &Path,
    adapters: &[AdapterChoice],
    precision: WeightDtype,
    pool: Option<Arc<WeightPool>>,
    options: LocalOptions,
    progress: Progress<'_>,
) -> Result<OpenedModel> {
    let files = ModelDir::open(directory)?;
    for warning in files.warnings() {
        progress.warn(warning.clone());
    }
    let tokenizer = Arc::new(Tokenizer::open(directory)?);
    let mut opened = Vec::with_capacity(adapters.len());
    for AdapterChoice { path, weight } in adapters {
        let shapes = files.tensors().iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()));
        let (adapter, notes) = Adapter::open(path)?.named_as(shapes);
        for note in notes {
            progress.warn(note);
        }
        warn_of_differences(path, directory, progress);
        opened.push(WeightedAdapter { adapter, weight: *weight });
    }
    // Hashing and packing read the same pages; side by side they are read once.
    let (identity, decoder) = options.workers.join(
        || identity(directory, adapters, precision, &tokenizer, progress),
        || Decoder::open(&files, &DecoderOptions { precision, adapters: opened, pool, workers: options.workers }),
    );
    let (identity, decoder) = (identity?, decoder?);
    Ok(assemble(decoder, &files, tokenizer, identity, options, progress))
}

/// Opens what a merge left in memory, with the tokenizer of the recipe's config source. The merged tensors are
/// not needed any more afterwards.
///
/// # Errors
/// Faults of the merged config or the config source's tokenizer.
pub fn open_merged(
    merged: &MergedModel,
    precision: WeightDtype,
    options: LocalOptions,
    progress: Progress<'_>,
) -> Result<OpenedModel> {
    let tokenizer = Arc::new(Tokenizer::open(merged.model.root())?);
    let opening = DecoderOptions { precision, workers: options.workers, ..DecoderOptions::default() };
    let decoder = Decoder::open(merged.model.as_ref(), &opening)?;
    let identity = ModelIdentity {
        weights: merged.identity(),
        adapters: Vec::new(),
        tokenizer: Some(tokenizer.sha256().to_owned()),
        chat_template: None,
        precision: precision.name().to_owned(),
    };
    Ok(assemble(decoder, merged.model.as_ref(), tokenizer, identity, options, progress))
}

fn assemble(
    decoder: Decoder,
    source: &dyn TensorSource,
    tokenizer: Arc<Tokenizer>,
    identity: ModelIdentity,
    options: LocalOptions,
    progress: Progress<'_>,
) -> OpenedModel {
    for warning in decoder.warnings() {
        progress.warn(warning.clone());
    }
    let parameters = source.tensors().values().map(Tensor::elements).sum();
    let model = LocalModel::with_tokenizer(decoder, &tokenizer, options);
    OpenedModel { model, tokenizer, identity, parameters }
}

fn identity(
    directory: &Path,
    adapters: &[AdapterChoice],
    precision: WeightDtype,
    tokenizer: &Tokenizer,
    progress: Progress<'_>,
) -> Result<ModelIdentity> {
    let mut cache = HashCache::open_default();
    if let Some(warning) = cache.warning() {
        progress.warn(warning);
    }
    let weights = file_hashes(directory, is_model_file, &mut cache, progress.cancel)?;
    let mut added = Vec::new();
    for AdapterChoice { path, weight } in adapters {
        for (name, hash) in file_hashes(path, is_model_file, &mut cache, progress.cancel)? {
            added.push((format!("{name} {hash}"), weight.to_string()));
        }
    }
    Ok(ModelIdentity {
        weights,
        adapters: added,
        tokenizer: Some(tokenizer.sha256().to_owned()),
        chat_template: None,
        precision: precision.name().to_owned(),
    })
}
