//! Reading an adapter's folder: tensors of each module are brought together and checked against the
//! config.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ndarray::Array2;

use super::adapter::{Adapter, Factors, SavedTensor, Tensors, WEIGHTS, module_of};
use super::config::LoraConfig;
use super::error::AdapterError;
use super::names::{Kind, Name, parse};
use super::target::{Rules, TargetModules, is_saved_whole};
use crate::checkpoint::header::{Header, TensorInfo};
use crate::dtype::widen;
use crate::error::Error;
use crate::storage::mapped::MappedFile;

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
        let mut parts = Parts { file: &file, config: &config, modules: BTreeMap::new(), tensors: Tensors::default() };
        let names: BTreeSet<&str> = header.tensors.iter().filter_map(|info| parse(&info.name).adapter).collect();
        if names.len() > 1 {
            let names = names.into_iter().map(str::to_owned).collect();
            return Err(AdapterError::SeveralAdapters { file, names }.into());
        }
        for info in &header.tensors {
            parts.take(info, mapped.slice(info.start..info.end))?;
        }
        let tensors = parts.finish()?;
        mapped.unchanged()?;
        Ok(Self::assemble(path, config, tensors)?)
    }
}

/// Tensors found of one module.
#[derive(Default)]
struct ModuleTensors {
    a: Option<Array2<f32>>,
    b: Option<Array2<f32>>,
    magnitude: Option<Vec<f32>>,
    /// The factors are those of an embedding, `[r, vocabulary]` and `[width, r]`.
    is_embedding: bool,
}

/// Brings the tensors of each module together.
struct Parts<'a> {
    file: &'a Path,
    config: &'a LoraConfig,
    modules: BTreeMap<String, ModuleTensors>,
    tensors: Tensors,
}

impl Parts<'_> {
    fn fault(&self, tensor: &str, reason: String) -> AdapterError {
        AdapterError::Tensor { file: self.file.into(), tensor: tensor.to_owned(), reason }
    }

    fn take(&mut self, info: &TensorInfo, bytes: &[u8]) -> Result<(), AdapterError> {
        let Name { kind, path, .. } = parse(&info.name);
        if kind == Kind::Original {
            return Ok(());
        }
        if !info.dtype.is_float() {
            return Err(self.fault(&info.name, format!("is {}, which is not a floating-point dtype", info.dtype)));
        }
        match kind {
            Kind::BaseLayer => {
                let tensor = SavedTensor { dtype: info.dtype, shape: info.shape.clone(), bytes: bytes.to_vec() };
                self.tensors.base_copies.insert(path, tensor);
                return Ok(());
            }
            Kind::Whole | Kind::Original => return self.take_whole(info, path, bytes),
            _ => {}
        }
        let mut values = vec![0.0; info.elements() as usize];
        widen(info.dtype, bytes, &mut values);
        if values.iter().any(|value| !value.is_finite()) {
            return Err(self.fault(&info.name, "has infinite or NaN elements".to_owned()));
        }
        let dimensions = if kind == Kind::Magnitude { 1 } else { 2 };
        if info.shape.len() != dimensions {
            let reason = format!("has shape {:?}, expected {dimensions} dimension(s)", info.shape);
            return Err(self.fault(&info.name, reason));
        }
        let is_new = if let [rows, columns] = info.shape[..] {
            let factor = Array2::from_shape_vec((rows as usize, columns as usize), values)
                .map_err(|error| self.fault(&info.name, error.to_string()))?;
            let module = self.modules.entry(path).or_default();
            module.is_embedding |= matches!(kind, Kind::EmbeddingA | Kind::EmbeddingB);
            let place = if matches!(kind, Kind::A | Kind::EmbeddingA) { &mut module.a } else { &mut module.b };
            place.replace(factor).is_none()
        } else {
            self.modules.entry(path).or_default().magnitude.replace(values).is_none()
        };
        if is_new { Ok(()) } else { Err(self.fault(&info.name, "is there under a second name".to_owned())) }
    }

    fn take_whole(&mut self, info: &TensorInfo, name: String, bytes: &[u8]) -> Result<(), AdapterError> {
        if name.contains(".lora_") || !is_saved_whole(self.config, module_of(&name)) {
            let reason = "is no factor of a module (`lora_A.weight`, `lora_B.weight`, `lora_embedding_A`, \
                          `lora_embedding_B`), nor of a module that `modules_to_save` names";
            return Err(self.fault(&info.name, reason.to_owned()));
        }
        let tensor = SavedTensor { dtype: info.dtype, shape: info.shape.clone(), bytes: bytes.to_vec() };
        match self.tensors.saved.insert(name, tensor) {
            None => Ok(()),
            Some(_) => Err(self.fault(&info.name, "is there under a second name".to_owned())),
        }
    }

    fn finish(mut self) -> Result<Tensors, AdapterError> {
        let rules = Rules::new(self.config)?;
        // PEFT fills in a family's usual modules where the config has none.
        let has_targets = self.config.target_modules != TargetModules::Names(Vec::new());
        for (module, ModuleTensors { a, b, magnitude, is_embedding }) in std::mem::take(&mut self.modules) {
            let (Some(a), Some(b)) = (a, b) else {
                return Err(self.fault(&module, "has one of the two factors A and B only".to_owned()));
            };
            if let Some(key) = rules.leaving_out(&module)?.filter(|_| has_targets) {
                return Err(AdapterError::OutsideTargets { file: self.file.into(), module, key });
            }
            let expected = self.config.rank_and_scale(&module)?.0;
            let (rank, b_rank) = (a.nrows(), b.ncols());
            if rank != b_rank || rank != expected {
                let reason = format!("has ranks {rank} (A) and {b_rank} (B), the config makes it {expected}");
                return Err(self.fault(&module, reason));
            }
            let factors = if is_embedding {
                if self.config.use_dora {
                    let reason = "has factors of an embedding, whose DoRA is not supported".to_owned();
                    return Err(self.fault(&module, reason));
                }
                // The embedding is stored as [vocabulary, width], and its change is the transpose of B A.
                self.tensors.embeddings.insert(module.clone());
                Factors { a: b.reversed_axes(), b: a.reversed_axes(), magnitude }
            } else {
                Factors { a, b, magnitude }
            };
            self.tensors.factors.insert(module, factors);
        }
        Ok(self.tensors)
    }
}
