//! Tensors by name, wherever their bytes are: in mapped files or in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::config::ModelConfig;
use super::model_dir::{ModelDir, Tensor};
use crate::storage::unchanged::InputChanged;

/// A model's config and tensors.
pub trait TensorSource: fmt::Debug + Send + Sync {
    /// The directory that messages name and that holds tokenizer and generation settings.
    fn root(&self) -> &Path;

    /// `config.json`, if there is one.
    fn config(&self) -> Option<&ModelConfig>;

    /// All tensors by name.
    fn tensors(&self) -> &BTreeMap<String, Tensor>;

    /// The bytes of a tensor of this model.
    fn bytes(&self, tensor: &Tensor) -> &[u8];

    /// Says that bytes of a tensor, counted from its start, will not be read again soon.
    fn release(&self, tensor: &Tensor, bytes: Range<u64>);

    /// The same of a whole tensor, at a time when nobody reads it or its neighbours.
    fn release_all(&self, tensor: &Tensor);

    /// Whether its files are what they were when they were opened.
    ///
    /// # Errors
    /// [`InputChanged`] naming the first file that is not.
    fn unchanged(&self) -> Result<(), InputChanged>;
}

impl TensorSource for ModelDir {
    fn root(&self) -> &Path {
        self.root()
    }

    fn config(&self) -> Option<&ModelConfig> {
        self.config()
    }

    fn tensors(&self) -> &BTreeMap<String, Tensor> {
        self.tensors()
    }

    fn bytes(&self, tensor: &Tensor) -> &[u8] {
        self.bytes(tensor)
    }

    fn release(&self, tensor: &Tensor, bytes: Range<u64>) {
        if let Some(shard) = self.shards().get(tensor.shard) {
            shard.release(tensor.range.start + bytes.start..tensor.range.start + bytes.end);
        }
    }

    fn release_all(&self, tensor: &Tensor) {
        if let Some(shard) = self.shards().get(tensor.shard) {
            shard.release_around(tensor.range.clone());
        }
    }

    fn unchanged(&self) -> Result<(), InputChanged> {
        self.unchanged()
    }
}

/// A model in memory, one buffer for each tensor.
pub struct MemoryModel {
    root: PathBuf,
    config: Option<ModelConfig>,
    tensors: BTreeMap<String, Tensor>,
    buffers: Vec<Vec<u8>>,
}

impl MemoryModel {
    /// A model of `tensors`; their `shard` numbers the buffer that holds them, their range is in it.
    /// `root` is the directory of its tokenizer.
    #[must_use]
    pub fn new(
        root: &Path,
        config: Option<ModelConfig>,
        tensors: BTreeMap<String, Tensor>,
        buffers: Vec<Vec<u8>>,
    ) -> Self {
        Self { root: root.into(), config, tensors, buffers }
    }
}

impl TensorSource for MemoryModel {
    fn root(&self) -> &Path {
        &self.root
    }

    fn config(&self) -> Option<&ModelConfig> {
        self.config.as_ref()
    }

    fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    fn bytes(&self, tensor: &Tensor) -> &[u8] {
        let range = usize::try_from(tensor.range.start).ok().zip(usize::try_from(tensor.range.end).ok());
        let buffer = self.buffers.get(tensor.shard).zip(range);
        let part = buffer.and_then(|(buffer, (start, end))| buffer.get(start..end));
        part.expect("a tensor lies inside the buffer of its own model")
    }

    fn release(&self, _: &Tensor, _: Range<u64>) {}

    fn release_all(&self, _tensor: &Tensor) {}

    fn unchanged(&self) -> Result<(), InputChanged> {
        Ok(())
    }
}

impl fmt::Debug for MemoryModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryModel")
            .field("root", &self.root)
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}
