//! Options of a merge: everything that decides it besides the recipe and the models.

use serde::{Deserialize, Serialize};

use crate::parallel::Workers;
use crate::storage::hash::HashAlgorithm;

/// Options of a merge, shared by `merge`, `plan`, `verify`, experiments and merges in memory.
///
/// What decides the output is recorded in the lock; see `LockOptions`, which names every field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct MergeOptions {
    /// Seed of random masks.
    pub seed: u64,
    /// Largest shard, in bytes of tensor data.
    pub max_shard_bytes: u64,
    /// Overrides the recipe's `trim_scope`.
    pub trim_scope: Option<TrimScope>,
    /// Unknown keys are warnings.
    pub lenient: bool,
    /// Merge models of different architectures.
    pub allow_crimes: bool,
    /// Merge models whose configs or tokenizers say that their weights mean different things.
    pub allow_mismatch: bool,
    /// Publish infinities and NaN that no input has.
    pub allow_non_finite: bool,
    /// Cut vocabulary tensors to the smallest row count.
    pub truncate_embeddings: bool,
    /// Copy tokenizer and generation files from the config source.
    pub copy_tokenizer: bool,
    /// Write `README.md`.
    pub model_card: bool,
    /// Threads that compute and hash. No byte of the output depends on their number.
    pub workers: Workers,
    /// Replace a non-empty output.
    pub force: bool,
    /// Publish the results of earlier documents as `OUT.stages/NAME`.
    pub keep_intermediates: bool,
    /// Function of the digests of inputs and outputs in the lock; `None` leaves those of inputs and weights out.
    pub hash: Option<HashAlgorithm>,
}

impl Default for MergeOptions {
    /// The defaults of `billon merge`.
    fn default() -> Self {
        Self {
            seed: 0,
            max_shard_bytes: 5_000_000_000,
            trim_scope: None,
            lenient: false,
            allow_crimes: false,
            allow_mismatch: false,
            allow_non_finite: false,
            truncate_embeddings: false,
            copy_tokenizer: true,
            model_card: true,
            workers: Workers::available(),
            force: false,
            keep_intermediates: false,
            hash: Some(HashAlgorithm::Blake3),
        }
    }
}

/// Elements among which TIES finds the largest of a task vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrimScope {
    /// Each tensor by itself, as mergekit does.
    Tensor,
    /// The whole model, as the authors do.
    Model,
}

impl TrimScope {
    /// The word of recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Model => "model",
        }
    }
}
