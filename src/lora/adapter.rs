//! An adapter in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config::LoraConfig;
use super::error::AdapterError;
use super::target::{is_saved_whole, saves};
use super::update::LoraFactors;
use crate::checkpoint::header::{Header, TensorInfo};
use crate::checkpoint::mapped::MappedFile;
use crate::dtype::{DType, widen};
use crate::error::Error;

/// The weights' name in an adapter's folder.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts before the base model's names.
pub(super) const PREFIX: &str = "base_model.model.";

/// The factors of one module, as a trainer hands them over.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// Columns of the weight.
    pub inputs: usize,
    /// Rows of the weight.
    pub outputs: usize,
    /// A, `[rank, inputs]` by rows.
    pub a: Vec<f32>,
    /// B, `[outputs, rank]` by rows.
    pub b: Vec<f32>,
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
}

impl Adapter {
    /// Reads a PEFT folder. Factors may be F32, F16 or BF16 and are kept as f32.
    ///
    /// # Errors
    /// An [`AdapterError`] naming file and key or tensor, or the defect of the safetensors file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let config = LoraConfig::open(path)?;
        let file = path.join(WEIGHTS);
        if !file.is_file() {
            return Err(AdapterError::NoWeights { path: path.into() }.into());
        }
        let mapped = MappedFile::open(&file).map_err(|source| AdapterError::Io { path: file.clone(), source })?;
        let header = Header::parse(&file, mapped.bytes(), mapped.len())?;
        let mut parts = Parts { file: &file, config: &config, modules: BTreeMap::new(), saved: BTreeMap::new() };
        for info in &header.tensors {
            parts.take(info, mapped.slice(info.start..info.end))?;
        }
        let (factors, saved) = (parts.factors()?, parts.saved);
        mapped.unchanged()?;
        Ok(Self::assemble(path, config, factors, saved)?)
    }

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
        Self::assemble(Path::new("the new adapter"), config, factors, saved)
    }

    fn assemble(
        path: &Path,
        config: LoraConfig,
        factors: BTreeMap<String, Factors>,
        saved: BTreeMap<String, SavedTensor>,
    ) -> Result<Self, AdapterError> {
        let fault =
            |tensor: &str, reason: String| AdapterError::Tensor { file: path.into(), tensor: tensor.into(), reason };
        let mut checked = BTreeMap::new();
        for (module, Factors { inputs, outputs, a, b, magnitude }) in factors {
            let (rank, scale) = config.rank_and_scale(&module);
            if inputs == 0 || outputs == 0 || a.len() != rank * inputs || b.len() != outputs * rank {
                let (a, b) = (a.len() / inputs.max(1), b.len() / outputs.max(1));
                return Err(fault(&module, format!("has ranks {a} (A) and {b} (B), the config makes it {rank}")));
            }
            if magnitude.is_some() != config.use_dora {
                let has = if config.use_dora { "has no magnitude, but" } else { "has a magnitude, but" };
                return Err(fault(&module, format!("{has} `use_dora` is {}", config.use_dora)));
            }
            if magnitude.as_ref().is_some_and(|magnitude| magnitude.len() != outputs) {
                return Err(fault(&module, format!("has not one magnitude for each of its {outputs} rows")));
            }
            checked.insert(module, LoraFactors { inputs, outputs, rank, scale, a, b, magnitude });
        }
        let unsaved = |name: &&String| !saved.keys().any(|tensor| saves(name, module_of(tensor)));
        if let Some(name) = config.modules_to_save.iter().find(unsaved) {
            return Err(fault(name, "is missing, though `modules_to_save` names it".to_owned()));
        }
        for (name, tensor) in &saved {
            let elements: u64 = tensor.shape.iter().product();
            if !tensor.dtype.is_float() {
                return Err(fault(name, format!("is {}, which is no float", tensor.dtype)));
            }
            if elements * tensor.dtype.bytes() as u64 != tensor.bytes.len() as u64 {
                return Err(fault(name, format!("has not the elements of shape {:?}", tensor.shape)));
            }
        }
        Ok(Self { path: path.into(), config, factors: checked, saved })
    }

    /// The folder it was read from; for one made from parts, words that say so.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its settings.
    #[must_use]
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

    /// The files whose contents decide what the adapter does.
    #[must_use]
    pub fn input_files(&self) -> Vec<PathBuf> {
        vec![self.path.join(super::config::CONFIG), self.path.join(WEIGHTS)]
    }
}

/// The module that a tensor belongs to.
fn module_of(tensor: &str) -> &str {
    tensor.rsplit_once('.').map_or("", |(module, _)| module)
}

/// Rows, columns and values of one factor.
type Factor = (usize, usize, Vec<f32>);

/// What was found of one module.
#[derive(Default)]
struct ModuleTensors {
    a: Option<Factor>,
    b: Option<Factor>,
    magnitude: Option<Vec<f32>>,
}

/// Brings the tensors of each module together.
struct Parts<'a> {
    file: &'a Path,
    config: &'a LoraConfig,
    modules: BTreeMap<String, ModuleTensors>,
    saved: BTreeMap<String, SavedTensor>,
}

impl Parts<'_> {
    fn fault(&self, tensor: &str, reason: String) -> AdapterError {
        AdapterError::Tensor { file: self.file.into(), tensor: tensor.to_owned(), reason }
    }

    fn take(&mut self, info: &TensorInfo, bytes: &[u8]) -> Result<(), AdapterError> {
        if !info.dtype.is_float() {
            return Err(self.fault(&info.name, format!("is {}, which is no float", info.dtype)));
        }
        let name = info.name.strip_prefix(PREFIX).unwrap_or(&info.name);
        let values = || {
            let mut values = vec![0.0; info.elements() as usize];
            widen(info.dtype, bytes, &mut values);
            values
        };
        if let Some(module) = name.strip_suffix(".lora_magnitude_vector") {
            if info.shape.len() != 1 {
                return Err(self.fault(&info.name, format!("has shape {:?}, expected one dimension", info.shape)));
            }
            self.modules.entry(module.to_owned()).or_default().magnitude = Some(values());
            return Ok(());
        }
        let a = name.strip_suffix(".lora_A.weight");
        let Some(module) = a.or_else(|| name.strip_suffix(".lora_B.weight")) else {
            return self.take_whole(info, name, bytes);
        };
        let &[rows, columns] = info.shape.as_slice() else {
            return Err(self.fault(&info.name, format!("has shape {:?}, expected two dimensions", info.shape)));
        };
        let factor = Some((rows as usize, columns as usize, values()));
        let tensors = self.modules.entry(module.to_owned()).or_default();
        if a.is_some() {
            tensors.a = factor;
        } else {
            tensors.b = factor;
        }
        Ok(())
    }

    fn take_whole(&mut self, info: &TensorInfo, name: &str, bytes: &[u8]) -> Result<(), AdapterError> {
        if name.contains(".lora_") || !is_saved_whole(self.config, module_of(name)) {
            let reason = "is neither `lora_A.weight` nor `lora_B.weight` of a linear layer, nor of a module that \
                          `modules_to_save` names";
            return Err(self.fault(&info.name, reason.to_owned()));
        }
        let tensor = SavedTensor { dtype: info.dtype, shape: info.shape.clone(), bytes: bytes.to_vec() };
        self.saved.insert(name.to_owned(), tensor);
        Ok(())
    }

    fn factors(&mut self) -> Result<BTreeMap<String, Factors>, AdapterError> {
        let mut factors = BTreeMap::new();
        for (module, ModuleTensors { a, b, magnitude }) in std::mem::take(&mut self.modules) {
            let (Some((rank, inputs, a)), Some((outputs, b_rank, b))) = (a, b) else {
                return Err(self.fault(&module, "has one of lora_A and lora_B only".to_owned()));
            };
            let expected = self.config.rank_and_scale(&module).0;
            if rank != b_rank || rank != expected {
                let reason = format!("has ranks {rank} (A) and {b_rank} (B), the config makes it {expected}");
                return Err(self.fault(&module, reason));
            }
            factors.insert(module, Factors { inputs, outputs, a, b, magnitude });
        }
        Ok(factors)
    }
}
