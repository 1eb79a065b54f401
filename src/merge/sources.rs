//! The models of a recipe: opened directories, or the planned results of earlier stages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::arch::LayerStack;
use crate::checkpoint::{CheckpointError, ModelConfig, ModelDir, Tensor};
use crate::error::Diagnose;
use crate::hub;
use crate::recipe::{Diagnostics, ModelReference, Span};

/// A model as planning sees it.
#[derive(Debug)]
pub struct Model {
    /// How the recipe names it.
    pub reference: ModelReference,
    /// Its tensors; for a planned result these are the places they will have.
    pub tensors: BTreeMap<String, Tensor>,
    /// Its config.
    pub config: Option<ModelConfig>,
    /// Its decoder layers.
    pub stack: LayerStack,
    /// The opened directory; `None` for a result that does not exist yet.
    pub dir: Option<ModelDir>,
}

impl Model {
    /// Opens a directory.
    ///
    /// # Errors
    /// A [`CheckpointError`].
    pub fn open(reference: ModelReference, root: &Path) -> Result<Self, CheckpointError> {
        let dir = ModelDir::open(root)?;
        let config = dir.config().cloned();
        let mut model = Self::planned(reference, dir.tensors().clone(), config);
        model.dir = Some(dir);
        Ok(model)
    }

    /// A result that is planned but not written.
    #[must_use]
    pub fn planned(reference: ModelReference, tensors: BTreeMap<String, Tensor>, config: Option<ModelConfig>) -> Self {
        let layers = config.as_ref().and_then(ModelConfig::layer_count);
        let stack = LayerStack::find(tensors.keys().map(String::as_str), layers);
        Self { reference, tensors, config, stack, dir: None }
    }

    /// What the model is, for comparing: first architecture, else model type.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        let config = self.config.as_ref()?;
        config.architecture().or_else(|| config.string("model_type"))
    }

    /// A tensor of the model, for reading.
    #[must_use]
    pub fn bytes(&self, tensor: &Tensor) -> &[u8] {
        self.dir.as_ref().map_or(&[], |dir| dir.bytes(tensor))
    }
}

/// What a planned stage will leave behind.
#[derive(Debug, Clone)]
pub struct PlannedResult {
    /// Tensors at their places in the planned shards.
    pub tensors: BTreeMap<String, Tensor>,
    /// The edited config.
    pub config: Option<ModelConfig>,
}

/// Finds and opens the models of recipes.
#[derive(Debug, Default)]
pub struct Resolver {
    /// The Hugging Face cache, if there is one.
    pub cache: Option<PathBuf>,
    /// Results of earlier stages by name.
    pub stages: BTreeMap<String, PlannedResult>,
}

impl Resolver {
    /// A resolver for the user's environment.
    #[must_use]
    pub fn from_environment() -> Self {
        Self { cache: hub::cache_dir(), stages: BTreeMap::new() }
    }

    /// The directory of a reference.
    ///
    /// # Errors
    /// [`hub::HubError`] saying where it looked.
    pub fn directory(&self, reference: &ModelReference) -> Result<PathBuf, hub::HubError> {
        // A directory may have `+` or `@` in its name.
        let whole = PathBuf::from(reference.to_string());
        if whole.is_dir() {
            return Ok(whole);
        }
        hub::resolve(&reference.path, reference.revision.as_deref(), self.cache.as_deref())
    }

    /// Opens a model; faults are noted at `span`.
    pub fn open(&self, reference: &ModelReference, span: Span, diagnostics: &mut Diagnostics) -> Option<Model> {
        if let Some(result) = self.stages.get(&reference.to_string()) {
            return Some(Model::planned(reference.clone(), result.tensors.clone(), result.config.clone()));
        }
        let root = match self.directory(reference) {
            Ok(root) => root,
            Err(error) => {
                diagnostics.error_help(span, error.to_string(), error.hints().join("; "));
                return None;
            }
        };
        if reference.adapter.is_some() && !PathBuf::from(reference.to_string()).is_dir() {
            diagnostics.error_help(
                span,
                format!("model `{reference}` names a LoRA adapter, which this version does not merge on the fly"),
                "merge the adapter into its base first (`merge_and_unload` and `save_pretrained` in PEFT) and name \
                 the result",
            );
            return None;
        }
        match Model::open(reference.clone(), &root) {
            Ok(model) => {
                for warning in model.dir.iter().flat_map(ModelDir::warnings) {
                    diagnostics.warning(None, warning.clone(), None);
                }
                Some(model)
            }
            Err(error) => {
                let hints = error.hints().join("; ");
                let mut message = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    message = format!("{message}: {cause}");
                    source = cause.source();
                }
                diagnostics.model_error(error.kind(), span, message, hints);
                None
            }
        }
    }
}
