//! Weights of a decoder: tensors of a mapped checkpoint, checked, with adapters added, packed once.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::adapter::{Change, WeightedAdapter, change_row};
use super::decoder::DecoderOptions;
use super::pool::WeightPool;
use crate::checkpoint::{Tensor, TensorSource};
use crate::compute::nn::{PackedMatrix, WeightDtype};
use crate::dtype::{DType, widen};
use crate::error::{Diagnose, ErrorKind};
use crate::lora::SavedTensor;

/// Reasons why a checkpoint's tensors do not make the decoder that its config describes.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum WeightsError {
    #[error("{}: tensor `{tensor}` is missing", path.display())]
    Missing { path: PathBuf, tensor: String },
    #[error("{}: tensor `{tensor}` has shape {found:?}, the config makes it {expected:?}", path.display())]
    Shape { path: PathBuf, tensor: String, expected: Vec<u64>, found: Vec<u64> },
    #[error("{}: tensor `{tensor}` is {dtype}, which is not a floating-point dtype", path.display())]
    Dtype { path: PathBuf, tensor: String, dtype: DType },
    #[error("{}: no tensor is named `...embed_tokens.weight`", path.display())]
    NoEmbedding { path: PathBuf },
    #[error("adapter {} changes `{module}`, {reason}", adapter.display())]
    Adapter { adapter: PathBuf, module: String, reason: String },
}

impl Diagnose for WeightsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } | Self::Dtype { .. } | Self::NoEmbedding { .. } => ErrorKind::Input,
            Self::Shape { .. } | Self::Adapter { .. } => ErrorKind::Mismatch,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing { tensor, .. } if tensor.ends_with("lm_head.weight") => {
                "config.json says that the head is not tied to the embedding: set tie_word_embeddings to true if it is"
            }
            Self::Missing { .. } | Self::Shape { .. } => {
                "config.json and the weights do not belong together: compare `billon inspect` with the config"
            }
            Self::Dtype { .. } => "weights must be F32, F16, BF16 or F64",
            Self::NoEmbedding { .. } => "give a causal language model in the layout that transformers writes",
            Self::Adapter { .. } => "give the model that the adapter was trained on",
        };
        vec![hint.to_owned()]
    }
}

/// Reads weights by module name.
pub(super) struct WeightSource<'a> {
    model: &'a dyn TensorSource,
    adapters: &'a [WeightedAdapter],
    precision: WeightDtype,
    pool: Option<&'a WeightPool>,
    /// Prefix of `layers.N` and `embed_tokens`.
    pub(super) prefix: String,
    used: Mutex<BTreeSet<String>>,
}

impl<'a> WeightSource<'a> {
    pub(super) fn new(
        model: &'a dyn TensorSource,
        DecoderOptions { adapters, precision, pool, workers: _ }: &'a DecoderOptions,
    ) -> Result<Self, WeightsError> {
        let leaf = "embed_tokens.weight";
        // Sorted order puts a multimodal model's other embeddings after these by rule, not luck.
        let known = ["model.", "language_model.model.", "model.language_model.", ""];
        let prefix = known.iter().find(|prefix| model.tensors().contains_key(&format!("{prefix}{leaf}")));
        match prefix {
            Some(prefix) => Ok(Self {
                model,
                adapters,
                precision: *precision,
                pool: pool.as_deref(),
                prefix: (*prefix).to_owned(),
                used: Mutex::default(),
            }),
            None => Err(WeightsError::NoEmbedding { path: model.root().into() }),
        }
    }

    /// Names of tensors read so far.
    pub(super) fn into_used(self) -> BTreeSet<String> {
        self.used.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn tensor(&self, name: &str, expected: &[u64]) -> Result<&'a Tensor, WeightsError> {
        let path = || self.model.root().to_owned();
        let Some(tensor) = self.model.tensors().get(name) else {
            return Err(WeightsError::Missing { path: path(), tensor: name.to_owned() });
        };
        if !tensor.dtype.is_float() {
            return Err(WeightsError::Dtype { path: path(), tensor: name.to_owned(), dtype: tensor.dtype });
        }
        if tensor.shape != expected {
            return Err(WeightsError::Shape {
                path: path(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
                found: tensor.shape.clone(),
            });
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(tensor)
    }

    /// Whether an adapter changes a module's weight.
    pub(super) fn changes(&self, module: &str) -> bool {
        let weight = format!("{module}.weight");
        let changes = |a: &WeightedAdapter| {
            let adapter = &a.adapter;
            adapter.factors().contains_key(module)
                || adapter.saved().contains_key(&weight)
                || adapter.base_copies().contains_key(&weight)
        };
        self.adapters.iter().any(changes)
    }

    /// Changes that adapters make to a tensor of `rows` times `width` elements.
    fn changes_of(&self, name: &str, [rows, width]: [usize; 2]) -> Result<Vec<Change<'a>>, WeightsError> {
        let mut found = Vec::new();
        for WeightedAdapter { adapter, weight } in self.adapters {
            if let Some(copy) = adapter.base_copies().get(name).filter(|copy| self.differs(name, copy)) {
                if adapter.config().use_dora {
                    let reason =
                        "with a copy of its base that differs from the model's, which DoRA does not allow here";
                    return Err(WeightsError::Adapter {
                        adapter: adapter.path().into(),
                        module: name.to_owned(),
                        reason: reason.to_owned(),
                    });
                }
                found.push(Change::Saved(copy, *weight));
            }
            let factors = name.strip_suffix(".weight").and_then(|module| adapter.factors().get(module));
            let factors = factors.map(|factors| Change::Factors(factors, *weight));
            let saved = adapter.saved().get(name).map(|tensor| Change::Saved(tensor, *weight));
            for change in factors.into_iter().chain(saved) {
                let shape = change.shape();
                if shape != [rows, width] {
                    return Err(WeightsError::Adapter {
                        adapter: adapter.path().into(),
                        module: name.strip_suffix(".weight").unwrap_or(name).to_owned(),
                        reason: format!("as {}x{}, but its weight is {rows}x{width}", shape[0], shape[1]),
                    });
                }
                found.push(change);
            }
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(found)
    }

    /// Whether a copy of a tensor that came with an adapter is another one than the model's.
    fn differs(&self, name: &str, copy: &SavedTensor) -> bool {
        let tensor = self.model.tensors().get(name);
        !tensor.is_some_and(|tensor| copy.equals(tensor.dtype, self.model.bytes(tensor)))
    }

    /// A part of a vector of `length` values, adapters added.
    pub(super) fn vector(&self, name: &str, length: usize, part: Range<usize>) -> Result<Arc<[f32]>, WeightsError> {
        let tensor = self.tensor(name, &[length as u64])?;
        let mut all = vec![0.0; length];
        widen(tensor.dtype, self.model.bytes(tensor), &mut all);
        change_row(&self.changes_of(name, [1, length])?, 0, &mut all);
        Ok(all[part].into())
    }

    /// Rows `part` of the `[rows, width]` weight of a module, adapters added.
    pub(super) fn matrix(
        &self,
        module: &str,
        shape: [usize; 2],
        part: Range<usize>,
    ) -> Result<Arc<PackedMatrix>, WeightsError> {
        self.matrix_as(module, module, shape, part)
    }

    /// Rows `part` of the weight of one module with what adapters do to another one, which shares it.
    pub(super) fn matrix_as(
        &self,
        module: &str,
        changed_as: &str,
        [rows, width]: [usize; 2],
        part: Range<usize>,
    ) -> Result<Arc<PackedMatrix>, WeightsError> {
        let tensor = self.tensor(&format!("{module}.weight"), &[rows as u64, width as u64])?;
        let changes = self.changes_of(&format!("{changed_as}.weight"), [rows, width])?;
        let as_they_are = tensor.dtype == DType::BF16 && changes.is_empty();
        let precision = if as_they_are { self.precision.for_bf16_values() } else { self.precision };
        let bytes = self.model.bytes(tensor);
        let row_bytes = width * tensor.dtype.bytes();
        let mut fill = |row: usize, out: &mut [f32]| {
            let row = part.start + row;
            // The header has been validated against the shape, so the row is always there.
            let source = &bytes[row * row_bytes..(row + 1) * row_bytes];
            widen(tensor.dtype, source, out);
            change_row(&changes, row, out);
        };
        let mut pack = || {
            let packed = PackedMatrix::pack(part.len(), width, precision, &mut fill);
            self.model.release(tensor, (part.start * row_bytes) as u64..(part.end * row_bytes) as u64);
            packed
        };
        Ok(match self.pool.filter(|_| changes.is_empty()) {
            Some(pool) => pool.matrix(self.model.root(), module, [part.start, part.len()], precision, pack),
            None => Arc::new(pack()),
        })
    }
}
