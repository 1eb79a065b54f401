//! An adapter in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::config::LoraConfig;
use super::error::AdapterError;
use super::target::{Rules, saves};
use super::update::LoraFactors;
use crate::arch;
use crate::dtype::{DType, widen};

/// The weights' name in an adapter's folder.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";

/// The factors of one module, as a trainer hands them over.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// A, `[rank, inputs]`.
    pub a: Array2<f32>,
    /// B, `[outputs, rank]`.
    pub b: Array2<f32>,
    /// DoRA's magnitudes, `[outputs]`.
    pub magnitude: Option<Vec<f32>>,
}

/// A tensor of a module that was trained whole.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedTensor {
    /// Element type, a float.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Little-endian elements.
    pub bytes: Vec<u8>,
}

impl SavedTensor {
    /// Whether another tensor's elements have the same values.
    #[must_use]
    pub fn equals(&self, dtype: DType, bytes: &[u8]) -> bool {
        const BLOCK: usize = 4096;
        let (width, other) = (self.dtype.bytes(), dtype.bytes());
        if self.bytes.len() / width.max(1) != bytes.len() / other.max(1) {
            return false;
        }
        let (mut a, mut b) = ([0.0_f32; BLOCK], [0.0_f32; BLOCK]);
        self.bytes.chunks(BLOCK * width).zip(bytes.chunks(BLOCK * other)).all(|(ours, theirs)| {
            let (a, b) = (&mut a[..ours.len() / width], &mut b[..theirs.len() / other]);
            widen(self.dtype, ours, a);
            widen(dtype, theirs, b);
            a == b
        })
    }

    /// A tensor of f32 values.
    #[must_use]
    pub fn of(shape: &[u64], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: DType::F32, shape: shape.to_vec(), bytes }
    }
}

/// A LoRA adapter in memory: factors by module, tensors trained whole by name.
#[derive(Debug, Clone)]
pub struct Adapter {
    path: PathBuf,
    config: LoraConfig,
    factors: BTreeMap<String, LoraFactors>,
    saved: BTreeMap<String, SavedTensor>,
    base_copies: BTreeMap<String, SavedTensor>,
    embeddings: BTreeSet<String>,
}

/// Everything of an adapter but its settings.
#[derive(Default)]
pub(super) struct Tensors {
    pub(super) factors: BTreeMap<String, Factors>,
    pub(super) saved: BTreeMap<String, SavedTensor>,
    pub(super) base_copies: BTreeMap<String, SavedTensor>,
    pub(super) embeddings: BTreeSet<String>,
}

/// The same matrix, row after row in memory.
fn by_rows(matrix: Array2<f32>) -> Array2<f32> {
    if matrix.is_standard_layout() { matrix } else { matrix.as_standard_layout().into_owned() }
}

impl Adapter {
    /// An adapter of factors by module path and of whole tensors by name, both as the base model
    /// names them.
    ///
    /// # Errors
    /// [`AdapterError::Tensor`] for sizes that do not fit each other or the config's rank.
    pub fn from_parts(
        config: LoraConfig,
        factors: BTreeMap<String, Factors>,
        saved: BTreeMap<String, SavedTensor>,
    ) -> Result<Self, AdapterError> {
        let tensors = Tensors { factors, saved, ..Tensors::default() };
        Self::assemble(Path::new("the new adapter"), config, tensors)
    }

    pub(super) fn assemble(path: &Path, config: LoraConfig, tensors: Tensors) -> Result<Self, AdapterError> {
        let Tensors { factors, saved, base_copies, embeddings } = tensors;
        let fault =
            |tensor: &str, reason: String| AdapterError::Tensor { file: path.into(), tensor: tensor.into(), reason };
        let mut checked = BTreeMap::new();
        for (module, Factors { a, b, magnitude }) in factors {
            let (rank, scale) = config.rank_and_scale(&module)?;
            let (inputs, outputs) = (a.ncols(), b.nrows());
            if inputs == 0 || outputs == 0 || a.nrows() != rank || b.ncols() != rank {
                let (a, b) = (a.nrows(), b.ncols());
                return Err(fault(&module, format!("has ranks {a} (A) and {b} (B), the config makes it {rank}")));
            }
            if magnitude.is_some() != config.use_dora {
                let has = if config.use_dora { "has no magnitude, but" } else { "has a magnitude, but" };
                return Err(fault(&module, format!("{has} `use_dora` is {}", config.use_dora)));
            }
            if magnitude.as_ref().is_some_and(|magnitude| magnitude.len() != outputs) {
                return Err(fault(&module, format!("has not one magnitude for each of its {outputs} rows")));
            }
            checked.insert(module, LoraFactors { scale, a: by_rows(a), b: by_rows(b), magnitude });
        }
        let unsaved = |name: &&String| !saved.keys().any(|tensor| saves(name, module_of(tensor)));
        if let Some(name) = config.modules_to_save.iter().find(unsaved) {
            return Err(fault(name, "is missing, though `modules_to_save` names it".to_owned()));
        }
        for (name, tensor) in saved.iter().chain(&base_copies) {
            let elements: u64 = tensor.shape.iter().product();
            if !tensor.dtype.is_float() {
                return Err(fault(name, format!("is {}, which is not a floating-point dtype", tensor.dtype)));
            }
            if elements * tensor.dtype.bytes() as u64 != tensor.bytes.len() as u64 {
                return Err(fault(name, format!("has not the elements of shape {:?}", tensor.shape)));
            }
        }
        Ok(Self { path: path.into(), config, factors: checked, saved, base_copies, embeddings })
    }

    /// The folder it was read from; for one made from parts, words that say so.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    /// Settings from `adapter_config.json`.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Modules with factors, as the base model names them.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.factors.keys().map(String::as_str)
    }

    /// All factors by module.
    #[must_use]
    pub fn factors(&self) -> &BTreeMap<String, LoraFactors> {
        &self.factors
    }

    /// The tensors that were trained whole, by the base model's tensor names.
    #[must_use]
    pub fn saved(&self) -> &BTreeMap<String, SavedTensor> {
        &self.saved
    }

    /// Copies of the base's own tensors that came with the factors, by the base model's tensor names. PEFT
    /// saves them for embeddings and heads, and loads them in the base's place.
    #[must_use]
    pub fn base_copies(&self) -> &BTreeMap<String, SavedTensor> {
        &self.base_copies
    }

    /// Whether a module's factors are those of an embedding: kept here as those of the transposed
    /// matrix, `[vocabulary, width]` as it is stored.
    #[must_use]
    pub fn is_embedding(&self, module: &str) -> bool {
        self.embeddings.contains(module)
    }

    /// Modules of a model that should have factors after the config and have none, as warnings. `modules`
    /// are those with a weight of two dimensions.
    ///
    /// # Errors
    /// [`AdapterError::NoFactors`] for a name of `target_modules` that has factors nowhere.
    pub fn check_modules<'m>(&self, modules: impl IntoIterator<Item = &'m str>) -> Result<Vec<String>, AdapterError> {
        let lacking = Rules::new(&self.config)?.lacking(modules, |module| self.factors.contains_key(module))?;
        if let Some((name, module)) = lacking.names.into_iter().next() {
            return Err(AdapterError::NoFactors { file: self.path.join(WEIGHTS), name, module });
        }
        let first = lacking.modules.first();
        let warning = |module: &String| {
            let count = lacking.modules.len();
            let path = self.path.display();
            format!(
                "adapter {path} has no factors of `{module}`, which its config names ({count} such modules); they are left as they are"
            )
        };
        Ok(first.map(warning).into_iter().collect())
    }

    /// The same adapter under the names of a model's tensors where they differ by a prefix only, and notes
    /// that say so. Tensors of the model come with their shapes.
    #[must_use]
    pub fn named_as<'m>(self, tensors: impl IntoIterator<Item = (&'m str, &'m [u64])>) -> (Self, Vec<String>) {
        let shape = |factors: &LoraFactors| vec![factors.outputs() as u64, factors.inputs() as u64];
        let factors = self.factors.iter().map(|(module, factors)| (format!("{module}.weight"), shape(factors)));
        let whole = self.saved.iter().chain(&self.base_copies);
        let own: BTreeMap<String, Vec<u64>> =
            factors.chain(whole.map(|(name, tensor)| (name.clone(), tensor.shape.clone()))).collect();
        match arch::align(own.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())), tensors) {
            arch::Alignment::Renamed(prefixes) => {
                let path = self.path.display().to_string();
                let note = |(from, to): &(String, String)| format!("adapter {path}: `{from}*` is `{to}*` in the model");
                let notes = prefixes.rules().iter().map(note).collect();
                (self.renamed(|name| prefixes.rename(name)), notes)
            }
            arch::Alignment::Unchanged | arch::Alignment::Ambiguous { .. } => (self, Vec::new()),
        }
    }

    /// The same adapter under a model's own names; `rename` gives the new name of a tensor.
    #[must_use]
    pub fn renamed(self, rename: impl Fn(&str) -> String) -> Self {
        let module = |module: String| {
            let renamed = rename(&format!("{module}.weight"));
            renamed.strip_suffix(".weight").map_or(module, str::to_owned)
        };
        let tensors = |tensors: BTreeMap<String, SavedTensor>| {
            tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect()
        };
        Self {
            path: self.path,
            config: self.config,
            factors: self.factors.into_iter().map(|(name, factors)| (module(name), factors)).collect(),
            saved: tensors(self.saved),
            base_copies: tensors(self.base_copies),
            embeddings: self.embeddings.into_iter().map(module).collect(),
        }
    }

    /// The files whose contents decide what the adapter does.
    #[must_use]
    pub fn input_files(&self) -> Vec<PathBuf> {
        vec![self.path.join(super::config::CONFIG), self.path.join(WEIGHTS)]
    }
}

/// The module that a tensor belongs to.
pub(super) fn module_of(tensor: &str) -> &str {
    tensor.rsplit_once('.').map_or("", |(module, _)| module)
}
