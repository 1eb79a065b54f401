//! A Hugging Face model directory: which files hold which tensors.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::config::ModelConfig;
use super::header::{Header, HeaderError};
use super::quantised;
use crate::dtype::DType;
use crate::error::{Diagnose, ErrorKind};
use crate::storage::mapped::MappedFile;
use crate::storage::unchanged::{FileStamps, InputChanged};

/// The single-file checkpoint name.
pub(crate) const SINGLE_FILE: &str = "model.safetensors";
/// The shard index name; it wins over [`SINGLE_FILE`] when both exist.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

/// One tensor of a model, as a range of a mapped shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Index into [`ModelDir::shards`].
    pub shard: usize,
    /// Byte range in the shard's file.
    pub range: Range<u64>,
}

impl Tensor {
    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// An opened model directory. Opening maps the shards and validates headers; no tensor is read.
#[derive(Debug)]
pub struct ModelDir {
    root: PathBuf,
    config: Option<ModelConfig>,
    shards: Vec<MappedFile>,
    tensors: BTreeMap<String, Tensor>,
    warnings: Vec<String>,
    /// Stamps of config and index, taken before they were read.
    stamps: FileStamps,
}

/// Reasons why a model directory can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CheckpointError {
    #[error("{} is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    #[error("{} has neither {SINGLE_FILE} nor {INDEX_FILE}", path.display())]
    NoWeights { path: PathBuf },
    #[error("{} is a PEFT adapter{}, not a model", path.display(), of(base.as_ref()))]
    Adapter { path: PathBuf, base: Option<String> },
    #[error("{} has only pickled weights ({})", path.display(), file.display())]
    Pickle { path: PathBuf, file: PathBuf },
    #[error("{} has only GGUF weights ({})", path.display(), file.display())]
    Gguf { path: PathBuf, file: PathBuf },
    #[error("{} is quantised ({format})", path.display())]
    Quantised { path: PathBuf, format: String },
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("{} is not a valid shard index", path.display())]
    Index { path: PathBuf, source: serde_json::Error },
    #[error("{} is not a valid model config", path.display())]
    Config { path: PathBuf, source: serde_json::Error },
    #[error("{}: shard name `{shard}` of tensor `{tensor}` leaves the model directory", path.display())]
    PathEscape { path: PathBuf, shard: String, tensor: String },
    #[error("{}: shard `{shard}` of tensor `{tensor}` does not exist", path.display())]
    MissingShard { path: PathBuf, shard: String, tensor: String },
    #[error("{}: tensor `{tensor}` is not in shard `{shard}`", path.display())]
    MissingTensor { path: PathBuf, shard: String, tensor: String },
    #[error("{}: tensor `{tensor}` is in `{first}` and in `{second}`, and the index names neither", path.display())]
    AmbiguousTensor { path: PathBuf, tensor: String, first: String, second: String },
}

fn of(base: Option<&String>) -> String {
    base.map_or_else(String::new, |base| format!(" of `{base}`"))
}

impl Diagnose for CheckpointError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            _ => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NotADirectory { .. } | Self::NoWeights { .. } => {
                "give a Hugging Face model directory with safetensors weights".to_owned()
            }
            Self::Adapter { .. } => {
                "name it with its base: `BASE+ADAPTER` in recipes and `billon eval`, or write a model \
                 of both with `billon adapter bake BASE ADAPTER OUT`"
                    .to_owned()
            }
            Self::Pickle { .. } => "billon does not execute pickles: load the model once in transformers and \
                 `save_pretrained(..., safe_serialization=True)`"
                .to_owned(),
            Self::Gguf { .. } => {
                "convert the GGUF file to a Hugging Face directory first (`billon convert`)".to_owned()
            }
            Self::Quantised { .. } => {
                "merge the unquantised model (bf16, f16 or f32) and quantise the result afterwards".to_owned()
            }
            Self::Header(error) => return error.hints(),
            Self::Io { .. } => return Vec::new(),
            Self::Config { .. } => "config.json must be one JSON object".to_owned(),
            Self::Index { .. }
            | Self::PathEscape { .. }
            | Self::MissingShard { .. }
            | Self::MissingTensor { .. }
            | Self::AmbiguousTensor { .. } => {
                format!("the checkpoint is incomplete or {INDEX_FILE} does not belong to it: fetch it again")
            }
        };
        vec![hint]
    }
}

/// `model.safetensors.index.json`; the metadata are not needed.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl ModelDir {
    /// Opens a directory: reads its index, maps its shards, validates every header, refuses
    /// quantised and pickled checkpoints by name.
    ///
    /// # Errors
    /// A [`CheckpointError`] naming file and tensor.
    pub fn open(root: &Path) -> Result<Self, CheckpointError> {
        if !root.is_dir() {
            return Err(CheckpointError::NotADirectory { path: root.into() });
        }
        let mut stamps = FileStamps::default();
        for name in ["config.json", INDEX_FILE] {
            stamps.take(&root.join(name));
        }
        let config = read_config(root)?;
        let (shards, tensors, warnings) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut model = Self { root: root.into(), config, shards, tensors, warnings, stamps };
        let index = root.join(INDEX_FILE);
        let single = root.join(SINGLE_FILE);
        if index.exists() {
            model.open_sharded(&index)?;
        } else if single.exists() {
            let tensors = model.map_shard(&single)?;
            model.tensors.extend(tensors);
        } else {
            return Err(no_weights(root));
        }
        let names = model.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dtype));
        if let Some(format) = quantised::format(model.config.as_ref().map(ModelConfig::value), names) {
            return Err(CheckpointError::Quantised { path: root.into(), format });
        }
        Ok(model)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Contents of `config.json`, if there is one.
    #[must_use]
    pub fn config(&self) -> Option<&ModelConfig> {
        self.config.as_ref()
    }

    /// The mapped weight files.
    #[must_use]
    pub fn shards(&self) -> &[MappedFile] {
        &self.shards
    }

    /// All tensors by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Things about the directory that are odd but no error.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The bytes of a tensor of this model.
    #[must_use]
    pub fn bytes(&self, tensor: &Tensor) -> &[u8] {
        self.shards[tensor.shard].slice(tensor.range.clone())
    }

    /// Whether weights, index and config are what they were when the directory was opened.
    ///
    /// # Errors
    /// [`InputChanged`] naming the first file that is not.
    pub fn unchanged(&self) -> Result<(), InputChanged> {
        self.shards.iter().try_for_each(MappedFile::unchanged)?;
        self.stamps.check()
    }

    /// Every file whose contents decide a merge: weights, index, config.
    #[must_use]
    pub fn input_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.shards.iter().map(|shard| shard.path().to_owned()).collect();
        for name in [INDEX_FILE, "config.json"] {
            let path = self.root.join(name);
            if path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        files
    }

    fn map_shard(&mut self, path: &Path) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        let file = MappedFile::open(path).map_err(|source| CheckpointError::Io { path: path.into(), source })?;
        let header = Header::parse(path, file.bytes(), file.len())?;
        let shard = self.shards.len();
        self.shards.push(file);
        let tensors = header.tensors.into_iter().map(|info| {
            let tensor = Tensor { dtype: info.dtype, shape: info.shape, shard, range: info.start..info.end };
            (info.name, tensor)
        });
        Ok(tensors.collect())
    }

    fn open_sharded(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let text = crate::storage::input::read(path, crate::storage::input::LIST_BYTES)
            .map_err(|source| CheckpointError::Io { path: path.into(), source })?;
        let index: ShardIndex =
            serde_json::from_slice(&text).map_err(|source| CheckpointError::Index { path: path.into(), source })?;
        let mut opened: BTreeMap<&str, BTreeMap<String, Tensor>> = BTreeMap::new();
        for (tensor, shard) in &index.weight_map {
            let inside = !shard.is_empty() && Path::new(shard).components().all(|c| matches!(c, Component::Normal(_)));
            if !inside {
                return Err(CheckpointError::PathEscape {
                    path: path.into(),
                    shard: shard.clone(),
                    tensor: tensor.clone(),
                });
            }
            if !opened.contains_key(shard.as_str()) {
                let file = self.root.join(shard);
                if !file.is_file() {
                    return Err(CheckpointError::MissingShard {
                        path: path.into(),
                        shard: shard.clone(),
                        tensor: tensor.clone(),
                    });
                }
                let tensors = self.map_shard(&file)?;
                opened.insert(shard, tensors);
            }
            let found = opened.get_mut(shard.as_str()).and_then(|tensors| tensors.remove(tensor));
            let Some(found) = found else {
                return Err(CheckpointError::MissingTensor {
                    path: path.into(),
                    shard: shard.clone(),
                    tensor: tensor.clone(),
                });
            };
            self.tensors.insert(tensor.clone(), found);
        }
        self.adopt_unlisted(path, opened)
    }

    /// Tensors that sit in a shard but not in the index are still part of the checkpoint.
    fn adopt_unlisted(
        &mut self,
        path: &Path,
        opened: BTreeMap<&str, BTreeMap<String, Tensor>>,
    ) -> Result<(), CheckpointError> {
        let mut adopted: BTreeMap<String, &str> = BTreeMap::new();
        for (shard, tensors) in opened {
            for (name, tensor) in tensors {
                if let Some(first) = adopted.get(&name) {
                    return Err(CheckpointError::AmbiguousTensor {
                        path: path.into(),
                        tensor: name,
                        first: (*first).to_owned(),
                        second: shard.to_owned(),
                    });
                }
                if self.tensors.contains_key(&name) {
                    self.warnings.push(format!(
                        "{}: `{shard}` holds a second copy of tensor `{name}`; the one that the index names is used",
                        path.display()
                    ));
                    continue;
                }
                self.warnings.push(format!(
                    "{}: tensor `{name}` of `{shard}` is missing from the index; it is read all the same",
                    path.display()
                ));
                adopted.insert(name.clone(), shard);
                self.tensors.insert(name, tensor);
            }
        }
        Ok(())
    }
}

fn read_config(root: &Path) -> Result<Option<ModelConfig>, CheckpointError> {
    let path = root.join("config.json");
    match crate::storage::input::read_text(&path, crate::storage::input::SETTINGS_BYTES) {
        Ok(text) => {
            ModelConfig::parse(&path, text).map(Some).map_err(|source| CheckpointError::Config { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Io { path, source }),
    }
}

/// The most helpful error for a directory without safetensors weights.
fn no_weights(root: &Path) -> CheckpointError {
    let mut names: Vec<PathBuf> = std::fs::read_dir(root)
        // A folder that cannot be listed shows no other weights; that it holds none is said all the same.
        .map_or_else(|_| Vec::new(), |entries| entries.filter_map(|e| e.ok().map(|e| e.file_name().into())).collect());
    names.sort();
    let with = |extensions: &[&str]| {
        names.iter().find(|n| n.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e))).cloned()
    };
    let path = root.to_owned();
    if let Ok(text) =
        crate::storage::input::read(&root.join("adapter_config.json"), crate::storage::input::SETTINGS_BYTES)
    {
        let config: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
        let base = config.as_ref().and_then(|config| config.get("base_model_name_or_path")?.as_str());
        return CheckpointError::Adapter { path, base: base.map(str::to_owned) };
    }
    if let Some(file) = with(&["bin", "pt", "pth", "ckpt"]) {
        CheckpointError::Pickle { path, file }
    } else if let Some(file) = with(&["gguf"]) {
        CheckpointError::Gguf { path, file }
    } else {
        CheckpointError::NoWeights { path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(dir: &Path, name: &str, tensors: &[&str]) {
        let list: Vec<_> = tensors.iter().map(|t| (*t, DType::F32, &[1_u64][..])).collect();
        let mut bytes = Header::build(&list);
        bytes.resize(bytes.len() + 4 * tensors.len(), 0);
        std::fs::write(dir.join(name), bytes).unwrap();
    }

    fn index(dir: &Path, map: &str) {
        std::fs::write(dir.join(INDEX_FILE), format!(r#"{{"metadata":{{}},"weight_map":{{{map}}}}}"#)).unwrap();
    }

    #[test]
    fn index_defects_are_distinguished() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        shard(root, "a.safetensors", &["x", "y"]);
        let open = |map: &str| {
            index(root, map);
            ModelDir::open(root)
        };
        assert!(matches!(open(r#""x":"b.safetensors""#), Err(CheckpointError::MissingShard { .. })));
        assert!(matches!(open(r#""z":"a.safetensors""#), Err(CheckpointError::MissingTensor { .. })));
        for escape in ["../a.safetensors", "/a.safetensors", "", "x/../../a.safetensors"] {
            assert!(matches!(open(&format!(r#""x":"{escape}""#)), Err(CheckpointError::PathEscape { .. })), "{escape}");
        }
        let model = open(r#""x":"a.safetensors""#).unwrap();
        assert_eq!(model.tensors().len(), 2, "an unlisted tensor is never dropped");
        assert_eq!(model.warnings().len(), 1);
        std::fs::write(root.join(INDEX_FILE), "{").unwrap();
        assert!(matches!(ModelDir::open(root), Err(CheckpointError::Index { .. })));
    }

    #[test]
    fn other_weight_formats_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert!(matches!(ModelDir::open(root), Err(CheckpointError::NoWeights { .. })));
        std::fs::write(root.join("model.gguf"), "").unwrap();
        assert!(matches!(ModelDir::open(root), Err(CheckpointError::Gguf { .. })));
        std::fs::write(root.join("pytorch_model.bin"), "").unwrap();
        assert!(matches!(ModelDir::open(root), Err(CheckpointError::Pickle { .. })));
        shard(root, SINGLE_FILE, &["a.qweight"]);
        assert!(matches!(ModelDir::open(root), Err(CheckpointError::Quantised { .. })));
        assert!(matches!(ModelDir::open(&root.join("no")), Err(CheckpointError::NotADirectory { .. })));
    }
}
