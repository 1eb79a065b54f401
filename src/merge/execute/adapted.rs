//! A model with a LoRA adapter, as one input of a merge: `W + s · B A`, computed as chunks are read.
//!
//! The sum is formed in f32 and goes into the merge as f32. It is not rounded to the dtype that W is
//! stored in: in bf16 a task vector `s · B A` would lose most of its bits against W. Only the output
//! is rounded, once. A tensor that the adapter saved whole takes the base's place. Output dtypes
//! follow the base's tensors, as if the adapter had been merged into them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::chunk::rows;
use crate::arch;
use crate::checkpoint::ModelConfig;
use crate::compute::merge::Operand;
use crate::dtype::{DType, widen};
use crate::error::{Diagnose, Error, ErrorKind};
use crate::lora::{Adapter, LoraFactors, SavedTensor};
use crate::merge::plan::sources::Model;

/// Reasons why an adapter does not fit the model that a recipe puts it on.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum AdaptedError {
    #[error("adapter {} changes `{module}`, which `{model}` does not have", adapter.display())]
    Missing { adapter: PathBuf, model: String, module: String },
    #[error("adapter {} changes `{tensor}` as {found:?}, but it is {expected:?} in `{model}`", adapter.display())]
    Shape { adapter: PathBuf, model: String, tensor: String, found: Vec<u64>, expected: Vec<u64> },
    #[error("adapter {} changes `{tensor}`, which `{model}` shares between embedding and head", adapter.display())]
    Tied { adapter: PathBuf, model: String, tensor: String },
}

impl Diagnose for AdaptedError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Mismatch
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing { .. } | Self::Shape { .. } => "give the model that the adapter was trained on",
            Self::Tied { .. } => {
                "one stored matrix can't be both: give the base an `lm_head.weight` of its own and set \
                 `tie_word_embeddings` to false"
            }
        };
        vec![hint.to_owned()]
    }
}

/// An adapter, checked against the tensors of its model and under its names.
#[derive(Debug)]
pub(crate) struct ModelAdapter {
    adapter: Adapter,
    /// The adapter's own copies of tensors of the base, where they differ from the model's.
    bases: BTreeMap<String, SavedTensor>,
    warnings: Vec<String>,
    /// DoRA's factors on the rows of a tensor, found when it is first read.
    gains: BTreeMap<String, OnceLock<Vec<f32>>>,
}

enum Change<'a> {
    Factors(&'a LoraFactors),
    Saved(&'a SavedTensor),
}

impl ModelAdapter {
    /// Opens a PEFT folder for a model.
    ///
    /// # Errors
    /// Faults of the folder, or an [`AdaptedError`].
    pub(crate) fn open(path: &Path, model: &Model) -> Result<Self, Error> {
        let (name, tensors) = (&model.reference.path, &model.tensors);
        let shapes = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()));
        let (adapter, mut warnings) = Adapter::open(path)?.named_as(shapes);
        let factors = adapter.factors().iter().map(|(module, factors)| {
            (format!("{module}.weight"), vec![factors.outputs() as u64, factors.inputs() as u64])
        });
        let whole = adapter.saved().iter().chain(adapter.base_copies());
        let whole = whole.map(|(name, tensor)| (name.clone(), tensor.shape.clone()));
        let tied = model.config.as_ref().is_some_and(ModelConfig::ties_word_embeddings);
        for (tensor_name, shape) in factors.chain(whole) {
            if tied && matches!(arch::role(&tensor_name), arch::Role::Head | arch::Role::Embedding) {
                return Err(
                    AdaptedError::Tied { adapter: path.into(), model: name.clone(), tensor: tensor_name }.into()
                );
            }
            let Some(tensor) = tensors.get(&tensor_name) else {
                let (adapter, model) = (path.into(), name.clone());
                return Err(AdaptedError::Missing { adapter, model, module: tensor_name }.into());
            };
            if tensor.shape != shape {
                return Err(AdaptedError::Shape {
                    adapter: path.into(),
                    model: name.clone(),
                    tensor: tensor_name,
                    found: shape,
                    expected: tensor.shape.clone(),
                }
                .into());
            }
        }
        let matrices = tensors
            .iter()
            .filter(|(name, tensor)| tensor.shape.len() == 2 && model.stack.predicted_layer(name).is_none());
        warnings.extend(adapter.check_modules(matrices.filter_map(|(name, _)| name.strip_suffix(".weight")))?);
        let mut bases = BTreeMap::new();
        for (copied, copy) in adapter.base_copies() {
            let same = tensors.get(copied).is_some_and(|tensor| copy.equals(tensor.dtype, model.bytes(tensor)));
            if !same {
                let path = path.display();
                warnings.push(format!(
                    "adapter {path} has its own copy of `{copied}`, which differs from that of `{name}`; the copy is \
                     used, as PEFT does"
                ));
                bases.insert(copied.clone(), copy.clone());
            }
        }
        let dora = adapter.factors().iter().filter(|(_, factors)| factors.magnitude().is_some());
        let gains = dora.map(|(module, _)| (format!("{module}.weight"), OnceLock::new())).collect();
        Ok(Self { adapter, bases, warnings, gains })
    }

    /// Things about the adapter that are odd but no error.
    #[must_use]
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The same adapter under other names of its model's tensors.
    #[must_use]
    pub(crate) fn renamed(self, rename: impl Fn(&str) -> String) -> Self {
        Self {
            adapter: self.adapter.renamed(&rename),
            bases: self.bases.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect(),
            warnings: self.warnings,
            gains: self.gains.into_iter().map(|(name, gains)| (rename(&name), gains)).collect(),
        }
    }

    /// The files that it was read from.
    #[must_use]
    pub(crate) fn input_files(&self) -> Vec<PathBuf> {
        self.adapter.input_files()
    }

    /// Folder of the adapter.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        self.adapter.path()
    }

    /// Whether any factor or saved tensor has an infinity or NaN.
    #[must_use]
    pub(crate) fn has_non_finite(&self) -> bool {
        let odd = |value: &f32| !value.is_finite();
        let factors = self.adapter.factors().values();
        let saved = |tensor: &SavedTensor| {
            let zeros = vec![0; tensor.bytes.len()];
            let (written, zeros) = (&tensor.bytes[..], &zeros[..]);
            let dtype = tensor.dtype;
            super::non_finite::count_made(Operand { bytes: written, dtype }, &[Operand { bytes: zeros, dtype }]) > 0
        };
        factors.flat_map(|f| f.a().iter().chain(f.b()).chain(f.magnitude().into_iter().flatten())).any(odd)
            || self.adapter.saved().values().any(saved)
    }

    /// Bytes that it holds in memory.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        let factors = self.adapter.factors().values().map(|f| 4 * (f.a().len() + f.b().len()));
        let whole = self.adapter.saved().values().chain(self.adapter.base_copies().values()).chain(self.bases.values());
        let saved = whole.map(|tensor| tensor.bytes.len());
        factors.chain(saved).sum::<usize>() as u64
    }

    /// Whether it changes a tensor.
    #[must_use]
    pub(crate) fn changes(&self, tensor: &str) -> bool {
        self.change(tensor).is_some() || self.bases.contains_key(tensor)
    }

    fn change(&self, tensor: &str) -> Option<Change<'_>> {
        if let Some(saved) = self.adapter.saved().get(tensor) {
            return Some(Change::Saved(saved));
        }
        let module = tensor.strip_suffix(".weight")?;
        self.adapter.factors().get(module).map(Change::Factors)
    }

    /// Writes elements `range` of a tensor that it changes to `out`, as little-endian f32. `base` is
    /// the whole tensor as the model stores it.
    pub(crate) fn read(&self, tensor: &str, base: Operand<'_>, range: &std::ops::Range<u64>, out: &mut Vec<u8>) {
        let own = self.bases.get(tensor).map(|own| Operand { bytes: &own.bytes, dtype: own.dtype });
        let base = own.unwrap_or(base);
        let length = (range.end - range.start) as usize;
        let mut values = vec![0.0_f32; length];
        let part = |bytes: &[u8], dtype: DType, values: &mut [f32]| {
            let width = dtype.bytes();
            let bytes = bytes.get(range.start as usize * width..range.end as usize * width);
            widen(dtype, bytes.expect("a chunk lies inside its tensor"), values);
        };
        match self.change(tensor) {
            None => part(base.bytes, base.dtype, &mut values),
            Some(Change::Saved(saved)) => part(&saved.bytes, saved.dtype, &mut values),
            Some(Change::Factors(factors)) => {
                part(base.bytes, base.dtype, &mut values);
                let width = factors.inputs() as u64;
                let gains = self.gains.get(tensor).map(|gains| gains.get_or_init(|| gains_of(factors, base)));
                for (row, piece) in rows(range.clone(), width) {
                    let columns = (piece.start - row * width) as usize..(piece.end - row * width) as usize;
                    let place = (piece.start - range.start) as usize..(piece.end - range.start) as usize;
                    let gain = gains.and_then(|gains| gains.get(row as usize)).copied().unwrap_or(1.0);
                    factors.apply(row as usize, columns, gain, &mut values[place]);
                }
            }
        }
        out.clear();
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
}

fn gains_of(factors: &LoraFactors, base: Operand<'_>) -> Vec<f32> {
    let bytes = factors.inputs() * base.dtype.bytes();
    let mut row = vec![0.0; factors.inputs()];
    let gain = |(index, bytes): (usize, &[u8])| {
        widen(base.dtype, bytes, &mut row);
        factors.gain(index, &row)
    };
    base.bytes.chunks_exact(bytes.max(1)).enumerate().map(gain).collect()
}
