//! The models of a recipe: opened directories, or the planned results of earlier stages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::arch::{self, Alignment, LayerStack};
use crate::checkpoint::{CheckpointError, MemoryModel, ModelConfig, ModelDir, Tensor, TensorSource};
use crate::error::{Diagnose, Error};
use crate::hub;
use crate::merge::execute::adapted::ModelAdapter;
use crate::recipe::{Diagnostics, ModelReference, Span};
use crate::storage::unchanged::{FileStamps, InputChanged};

/// A model as planning sees it.
#[derive(Debug)]
pub(crate) struct Model {
    /// Reference in the recipe.
    pub reference: ModelReference,
    /// Tensors; for a planned result at the places they will have.
    pub tensors: BTreeMap<String, Tensor>,
    pub config: Option<ModelConfig>,
    /// Decoder layers.
    pub stack: LayerStack,
    /// The opened directory; `None` for a result that does not exist yet or is in memory.
    pub dir: Option<ModelDir>,
    /// The result of an earlier stage, in memory.
    pub memory: Option<Arc<MemoryModel>>,
    /// Adapter that is applied to the tensors when they are read.
    pub adapter: Option<ModelAdapter>,
    /// The directory of its tokenizer; for the result of an earlier stage that of the model it takes it from.
    pub tokenizer_dir: Option<PathBuf>,
    /// Stamps of the adapter's files, taken before they were read.
    stamps: FileStamps,
}

impl Model {
    /// Opens a directory.
    ///
    /// # Errors
    /// A [`CheckpointError`].
    pub(crate) fn open(reference: ModelReference, root: &Path) -> Result<Self, CheckpointError> {
        let dir = ModelDir::open(root)?;
        let config = dir.config().cloned();
        let mut model = Self::planned(reference, dir.tensors().clone(), config);
        model.tokenizer_dir = Some(dir.root().to_owned());
        model.dir = Some(dir);
        Ok(model)
    }

    /// A result that is held in memory.
    #[must_use]
    pub(crate) fn in_memory(reference: ModelReference, result: Arc<MemoryModel>) -> Self {
        let mut model = Self::planned(reference, result.tensors().clone(), result.config().cloned());
        model.tokenizer_dir = Some(result.root().to_owned());
        model.memory = Some(result);
        model
    }

    /// The model with the adapter in a folder added to its tensors.
    ///
    /// # Errors
    /// Faults of the adapter, or that it does not fit.
    pub(crate) fn with_adapter(mut self, folder: &Path) -> Result<Self, Error> {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            self.stamps.take(&entry.path());
        }
        let adapter = ModelAdapter::open(folder, &self)?;
        self.adapter = Some(adapter);
        Ok(self)
    }

    /// A result that is planned but not written.
    #[must_use]
    pub(crate) fn planned(
        reference: ModelReference,
        tensors: BTreeMap<String, Tensor>,
        config: Option<ModelConfig>,
    ) -> Self {
        let stack = LayerStack::of(tensors.keys().map(String::as_str), config.as_ref());
        let (dir, memory, adapter, tokenizer_dir, stamps) = (None, None, None, None, FileStamps::default());
        Self { reference, tensors, config, stack, dir, memory, adapter, tokenizer_dir, stamps }
    }

    /// Whether both are one directory with one adapter, by device and inode: spellings, links and bind mounts of a
    /// directory are the same model.
    #[must_use]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let of = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
        let place = |model: &Self| {
            let root = of(model.dir.as_ref()?.root())?;
            let adapter = model.adapter.as_ref().map(|adapter| of(adapter.path()));
            Some((root, adapter))
        };
        place(self).is_some_and(|own| place(other) == Some(own))
    }

    /// Whether its files are what they were when they were opened.
    ///
    /// # Errors
    /// [`InputChanged`] naming the first file that is not.
    pub(crate) fn unchanged(&self) -> Result<(), InputChanged> {
        self.source().map_or(Ok(()), TensorSource::unchanged)?;
        self.stamps.check()
    }

    /// The model with its tensors, and what its adapter changes, under other names.
    #[must_use]
    pub(crate) fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        self.tensors = self.tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
        self.stack = LayerStack::of(self.tensors.keys().map(String::as_str), self.config.as_ref());
        self.adapter = self.adapter.map(|adapter| adapter.renamed(&rename));
        self
    }

    /// The model under another one's tensor names where they differ by prefixes only, with those.
    #[must_use]
    pub(crate) fn named_as(self, wanted: &Self) -> (Self, Vec<(String, String)>) {
        fn shapes(model: &Model) -> impl Iterator<Item = (&str, &[u64])> {
            model.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()))
        }
        match arch::align(shapes(&self), shapes(wanted)) {
            Alignment::Renamed(prefixes) => (self.renamed(|name| prefixes.rename(name)), prefixes.rules().to_vec()),
            Alignment::Unchanged | Alignment::Ambiguous { .. } => (self, Vec::new()),
        }
    }

    /// Architecture for comparisons: first architecture, else model type.
    #[must_use]
    pub(crate) fn architecture(&self) -> Option<&str> {
        let config = self.config.as_ref()?;
        config.architecture().or_else(|| config.string("model_type"))
    }

    /// Source of the tensors; `None` for a result that does not exist yet.
    #[must_use]
    pub(crate) fn source(&self) -> Option<&dyn TensorSource> {
        let dir = self.dir.as_ref().map(|dir| dir as &dyn TensorSource);
        dir.or_else(|| self.memory.as_deref().map(|memory| memory as &dyn TensorSource))
    }

    /// A tensor of the model as it is stored, for reading; nothing when there is no data yet.
    #[must_use]
    pub(crate) fn bytes(&self, tensor: &Tensor) -> &[u8] {
        self.source().map_or(&[], |source| source.bytes(tensor))
    }

    /// The adapter, if it changes a tensor.
    #[must_use]
    pub(crate) fn adapter_of(&self, tensor: &str) -> Option<&ModelAdapter> {
        self.adapter.as_ref().filter(|adapter| adapter.changes(tensor))
    }

    /// Every file whose contents decide what the model is.
    #[must_use]
    pub(crate) fn input_files(&self) -> Vec<PathBuf> {
        let model = self.dir.iter().flat_map(ModelDir::input_files);
        model.chain(self.adapter.iter().flat_map(ModelAdapter::input_files)).collect()
    }
}

/// Result that a planned stage will write.
#[derive(Debug, Clone)]
pub(crate) struct PlannedResult {
    /// Tensors at their places in the planned shards.
    pub tensors: BTreeMap<String, Tensor>,
    /// The edited config.
    pub config: Option<ModelConfig>,
    /// The directory of the tokenizer it will have.
    pub tokenizer_dir: Option<PathBuf>,
}

/// Finds and opens the models of recipes.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    /// The Hugging Face cache, if there is one.
    pub cache: Option<PathBuf>,
    /// Results of earlier stages by name.
    pub stages: BTreeMap<String, PlannedResult>,
}

impl Resolver {
    /// A resolver for the user's environment.
    #[must_use]
    pub(crate) fn from_environment() -> Self {
        Self { cache: hub::cache_dir(), stages: BTreeMap::new() }
    }

    /// The directory of a reference.
    ///
    /// # Errors
    /// [`hub::HubError`] saying where it looked.
    pub(crate) fn directory(&self, reference: &ModelReference) -> Result<PathBuf, hub::HubError> {
        // A directory may have `+` or `@` in its name.
        let whole = PathBuf::from(reference.to_string());
        if whole.is_dir() {
            return Ok(whole);
        }
        hub::resolve(&reference.path, reference.revision.as_deref(), self.cache.as_deref())
    }

    /// Opens a model; faults are noted at `span`.
    pub(crate) fn open(&self, reference: &ModelReference, span: Span, diagnostics: &mut Diagnostics) -> Option<Model> {
        if let Some(result) = self.stages.get(&reference.to_string()) {
            let mut model = Model::planned(reference.clone(), result.tensors.clone(), result.config.clone());
            model.tokenizer_dir.clone_from(&result.tokenizer_dir);
            return Some(model);
        }
        let root = match self.directory(reference) {
            Ok(root) => root,
            Err(error) => {
                diagnostics.error_help(span, error.to_string(), error.hints().join("; "));
                return None;
            }
        };
        // A directory may have `+` in its name.
        let adapter = reference.adapter.as_ref().filter(|_| !PathBuf::from(reference.to_string()).is_dir());
        let opened = Model::open(reference.clone(), &root).map_err(Error::from).and_then(|model| match adapter {
            Some((path, revision)) => {
                let folder = hub::resolve(path, revision.as_deref(), self.cache.as_deref())?;
                model.with_adapter(&folder)
            }
            None => Ok(model),
        });
        match opened {
            Ok(model) => {
                for warning in model.dir.iter().flat_map(ModelDir::warnings) {
                    diagnostics.warning(None, warning.clone(), None);
                }
                for warning in model.adapter.iter().flat_map(ModelAdapter::warnings) {
                    diagnostics.warning(None, warning.clone(), None);
                }
                Some(model)
            }
            Err(error) => {
                diagnostics.model_error(error.kind(), span, error.chain().join(": "), error.hints().join("; "));
                None
            }
        }
    }
}
