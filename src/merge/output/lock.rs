//! `billon.lock.json`: what went in, what was done, what came out.
//!
//! The lock holds nothing that differs between two runs with the same inputs, recipe and seed: no
//! times, no thread counts, no absolute paths that the recipe does not name itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::report::{InputPlan, StagePlan, TensorPlan};
use crate::error::{Diagnose, ErrorKind};
use crate::merge::methods::Values;
use crate::merge::output::files::FileRecord;
use crate::merge::plan::options::{MergeOptions, TrimScope};
use crate::merge::plan::{MergePlan, TensorJob};
use crate::parallel::Workers;
use crate::recipe::setting::Value;
use crate::storage::manifest::LOCK_VERSIONS;

pub(crate) use crate::storage::manifest::LOCK_FILE;

/// The lock's format version that is written.
const FORMAT: u32 = *LOCK_VERSIONS.end();

/// The contents of a lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lock {
    /// Version of this format.
    pub lock_version: u32,
    /// Version of billon that wrote it.
    pub billon_version: String,
    /// Seed of random masks.
    pub seed: u64,
    /// Options of the command line that decide the output.
    pub options: LockOptions,
    /// The recipe as written.
    pub recipe: String,
    /// The recipe as resolved, one entry per stage in execution order; the last one is the output.
    pub stages: Vec<Json>,
    /// Files of every model, by reference and file name.
    pub inputs: BTreeMap<String, BTreeMap<String, FileRecord>>,
    /// Files of the output, without the lock.
    pub outputs: BTreeMap<String, FileRecord>,
    /// Version of the random masks' key: [`MASKS`]; 0 in locks of before, when it was the text of a model's
    /// reference.
    #[serde(default)]
    pub masks: u32,
}

/// Masks are keyed by seed, number of the document, place of the model in it, and tensor.
pub(crate) const MASKS: u32 = 1;

/// Options of the command line that decide the output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct LockOptions {
    /// Largest shard in bytes.
    pub max_shard_bytes: u64,
    /// `--trim-scope`.
    pub trim_scope: Option<TrimScope>,
    /// `--lenient`.
    pub lenient: bool,
    pub allow_crimes: bool,
    #[serde(default)]
    pub allow_mismatch: bool,
    #[serde(default)]
    pub allow_non_finite: bool,
    /// Whether tokenizer and generation files were copied; locks of before do not say.
    #[serde(default)]
    pub copy_tokenizer: Option<bool>,
    /// Whether a model card was written.
    #[serde(default)]
    pub model_card: Option<bool>,
    /// `--unsafe-truncate-embeddings`.
    pub truncate_embeddings: bool,
}

impl LockOptions {
    /// Records what decides the output. Every option is named, so that a new one is recorded or left out on purpose.
    #[must_use]
    pub fn of(options: &MergeOptions) -> Self {
        let &MergeOptions {
            // The lock has it beside the options.
            seed: _,
            max_shard_bytes,
            trim_scope,
            lenient,
            allow_crimes,
            allow_mismatch,
            allow_non_finite,
            truncate_embeddings,
            copy_tokenizer,
            model_card,
            // How the output is computed and published, which leaves no trace in its bytes.
            workers: _,
            force: _,
            keep_intermediates: _,
            // Seen in the lock by the hashes themselves.
            hash: _,
        } = options;
        Self {
            max_shard_bytes,
            trim_scope,
            lenient,
            allow_crimes,
            allow_mismatch,
            allow_non_finite,
            copy_tokenizer: Some(copy_tokenizer),
            model_card: Some(model_card),
            truncate_embeddings,
        }
    }

    /// The options to plan a locked recipe again. Whether tokenizer and card were written is the default's where a
    /// lock of before does not say.
    #[must_use]
    pub fn merge_options(&self, seed: u64, workers: Workers) -> MergeOptions {
        let &Self {
            max_shard_bytes,
            trim_scope,
            lenient,
            allow_crimes,
            allow_mismatch,
            allow_non_finite,
            copy_tokenizer,
            model_card,
            truncate_embeddings,
        } = self;
        let default = MergeOptions::default();
        MergeOptions {
            seed,
            max_shard_bytes,
            trim_scope,
            lenient,
            allow_crimes,
            allow_mismatch,
            allow_non_finite,
            truncate_embeddings,
            copy_tokenizer: copy_tokenizer.unwrap_or(default.copy_tokenizer),
            model_card: model_card.unwrap_or(default.model_card),
            workers,
            force: default.force,
            keep_intermediates: default.keep_intermediates,
            hash: default.hash,
        }
    }
}

/// Why a lock can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LockError {
    #[error("{} has no {LOCK_FILE}", directory.display())]
    Missing { directory: PathBuf },
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is not a valid lock", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{} has lock version {found}, this billon reads {} to {FORMAT}", path.display(), LOCK_VERSIONS.start())]
    Version { path: PathBuf, found: u32 },
}

impl Diagnose for LockError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { .. } => vec!["only outputs of `billon merge` can be verified".to_owned()],
            _ => Vec::new(),
        }
    }
}

impl Lock {
    /// A lock of this version.
    #[must_use]
    pub fn new(options: &MergeOptions, recipe: &str) -> Self {
        Self {
            lock_version: FORMAT,
            billon_version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: options.seed,
            options: LockOptions::of(options),
            recipe: recipe.to_owned(),
            stages: Vec::new(),
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            masks: MASKS,
        }
    }

    /// Reads the lock of a directory.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn read(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(LOCK_FILE);
        let text =
            crate::storage::input::read(&path, crate::storage::input::LIST_BYTES).map_err(|source| {
                match source.kind() {
                    std::io::ErrorKind::NotFound => LockError::Missing { directory: directory.into() },
                    _ => LockError::Io { path: path.clone(), source },
                }
            })?;
        let lock: Self =
            serde_json::from_slice(&text).map_err(|source| LockError::Json { path: path.clone(), source })?;
        if !LOCK_VERSIONS.contains(&lock.lock_version) {
            return Err(LockError::Version { path, found: lock.lock_version });
        }
        Ok(lock)
    }

    /// Text of the lock.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "what is expected holds by construction")]
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a lock has nothing that JSON lacks");
        text.push('\n');
        text
    }
}

/// A stage as resolved, for `plan` and for the lock.
#[must_use]
pub(crate) fn stage_plan(plan: &MergePlan, name: Option<&str>, threads: usize) -> StagePlan {
    StagePlan {
        name: name.map(str::to_owned),
        method: plan.method.name().to_owned(),
        models: plan.models.iter().map(|m| m.reference.to_string()).collect(),
        donor: plan.models[plan.donor].reference.to_string(),
        parameters: plan.elements(),
        bytes_read: plan.bytes_read(),
        bytes_written: plan.bytes_written(),
        peak_memory: plan.peak_memory(threads),
        shards: plan.layout.shards.iter().map(|s| (s.file_name.clone(), s.bytes)).collect(),
        tensors: plan.jobs.iter().map(|job| tensor_plan(plan, job)).collect(),
    }
}

/// A stage as the lock keeps it: without what depends on the machine.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "what is expected holds by construction")]
pub(crate) fn locked_stage(plan: &MergePlan, name: Option<&str>) -> Json {
    let mut stage = serde_json::to_value(stage_plan(plan, name, 1)).expect("a plan has nothing that JSON lacks");
    if let Some(object) = stage.as_object_mut() {
        object.remove("peak_memory");
    }
    stage
}

fn tensor_plan(plan: &MergePlan, job: &TensorJob) -> TensorPlan {
    let output = &plan.outputs[job.output];
    let inputs = job.inputs.iter().zip(&job.parameters.inputs).map(|(input, given)| InputPlan {
        model: plan.models[input.model].reference.to_string(),
        tensor: input.name.clone(),
        dtype: input.tensor.dtype.to_string(),
        parameters: if job.verbatim { Map::new() } else { json(&given.values) },
    });
    TensorPlan {
        name: output.name.clone(),
        dtype: output.dtype.to_string(),
        shape: output.shape.clone(),
        bytes: output.bytes(),
        operation: if job.verbatim { "copy".to_owned() } else { plan.method.name().to_owned() },
        parameters: if job.verbatim { Map::new() } else { json(&job.parameters.shared) },
        inputs: inputs.collect(),
    }
}

fn json(values: &Values) -> Map<String, Json> {
    let value = |v: &Value| match v {
        Value::Number(n) => Json::from(*n),
        Value::Boolean(b) => Json::from(*b),
        Value::Word(w) => Json::from(*w),
    };
    values.iter().map(|(name, v)| ((*name).to_owned(), value(v))).collect()
}
