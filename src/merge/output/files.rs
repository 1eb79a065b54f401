//! Everything of an output directory besides its weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::card::model_card;
use crate::checkpoint::model_dir::INDEX_FILE;
use crate::merge::execute::adapted::ModelAdapter;
use crate::merge::plan::MergePlan;
use crate::merge::plan::options::MergeOptions;
use crate::storage::hash::{Digest, HashAlgorithm};
use crate::storage::publish::{StagingDir, WriteError};

/// Tokenizer, template, generation and preprocessing files that belong to a model.
pub(crate) const COMPANION_FILES: &[&str] = &[
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    "vocab.txt",
];

/// Size and digest of a file. A lock keys the digest by its function: `"blake3"` or `"sha256"`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "StoredRecord", try_from = "StoredRecord")]
pub struct FileRecord {
    pub bytes: u64,
    /// Absent when hashing was turned off.
    pub digest: Option<Digest>,
}

impl FileRecord {
    /// The record of bytes in memory.
    #[must_use]
    pub fn of(algorithm: HashAlgorithm, bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, digest: Some(Digest::of(algorithm, bytes)) }
    }
}

/// A record as a lock writes it; digests are lower-case hexadecimal.
#[derive(serde::Serialize, serde::Deserialize)]
struct StoredRecord {
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    blake3: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sha256: Option<String>,
}

impl From<FileRecord> for StoredRecord {
    fn from(FileRecord { bytes, digest }: FileRecord) -> Self {
        let mut stored = Self { bytes, blake3: None, sha256: None };
        match digest {
            Some(Digest { algorithm: HashAlgorithm::Blake3, hex }) => stored.blake3 = Some(hex),
            Some(Digest { algorithm: HashAlgorithm::Sha256, hex }) => stored.sha256 = Some(hex),
            None => {}
        }
        stored
    }
}

impl TryFrom<StoredRecord> for FileRecord {
    type Error = &'static str;

    fn try_from(StoredRecord { bytes, blake3, sha256 }: StoredRecord) -> Result<Self, Self::Error> {
        let digest = match (blake3, sha256) {
            (Some(_), Some(_)) => return Err("a file has two digests, `blake3` and `sha256`"),
            (Some(hex), None) => Some(Digest { algorithm: HashAlgorithm::Blake3, hex }),
            (None, Some(hex)) => Some(Digest { algorithm: HashAlgorithm::Sha256, hex }),
            (None, None) => None,
        };
        Ok(Self { bytes, digest })
    }
}

/// Files that say something else beside a tokenizer that they were not saved with.
const TOKENIZER_EXTRAS: &[&str] =
    &["added_tokens.json", "chat_template.jinja", "chat_template.json", "special_tokens_map.json"];

/// The tokenizer and its companions: those of an adapter, where it was saved with any, in the model's
/// place. A trainer saves them with the adapter when it added tokens or changed the template.
fn companion_paths(root: &Path, adapter: Option<&Path>) -> Vec<PathBuf> {
    let own = |name: &&&str| adapter.map(|folder| folder.join(name)).filter(|path| path.is_file());
    let replaced = ["tokenizer.json", "tokenizer_config.json"].iter().any(|name| own(&name).is_some());
    let file = |name: &&str| {
        let models = || Some(root.join(name)).filter(|path| path.is_file());
        own(&name).or_else(|| if replaced && TOKENIZER_EXTRAS.contains(name) { None } else { models() })
    };
    COMPANION_FILES.iter().filter_map(file).collect()
}

/// The files that [`write_companions`] copies from the config source, and from its adapter.
///
/// # Errors
/// When the config source's directory cannot be listed.
pub(crate) fn copied_files(plan: &MergePlan, options: &MergeOptions) -> Result<Vec<PathBuf>, WriteError> {
    let donor = &plan.models[plan.donor];
    let Some(root) = donor.tokenizer_dir.as_deref() else { return Ok(Vec::new()) };
    let mut files: Vec<PathBuf> = Vec::new();
    if options.copy_tokenizer {
        files.extend(companion_paths(root, donor.adapter.as_ref().map(ModelAdapter::path)));
    }
    // Models with their own code name it in the config and don't load without it.
    if donor.config.as_ref().is_some_and(|c| c.value().get("auto_map").is_some()) {
        let fault = |source| WriteError::Io { path: root.into(), source };
        for entry in std::fs::read_dir(root).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if path.extension().is_some_and(|e| e == "py") && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Index, config, copied files and card, by name.
///
/// # Errors
/// Read errors.
#[expect(clippy::missing_panics_doc, reason = "what is expected holds by construction")]
pub(crate) fn companions(
    plan: &MergePlan,
    recipe: &str,
    options: &MergeOptions,
) -> Result<BTreeMap<String, Vec<u8>>, WriteError> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    if let Some(index) = plan.layout.index(&plan.outputs) {
        files.insert(INDEX_FILE.to_owned(), index.into_bytes());
    }
    if let Some(config) = &plan.config {
        files.insert("config.json".to_owned(), config.clone().into_bytes());
    }
    for path in copied_files(plan, options)? {
        let bytes = crate::storage::input::read(&path, u64::MAX)
            .map_err(|source| WriteError::Io { path: path.clone(), source })?;
        let name = path.file_name().expect("copied files are entries of a directory");
        files.insert(name.to_string_lossy().into_owned(), bytes);
    }
    if options.model_card {
        files.insert("README.md".to_owned(), model_card(plan, recipe).into_bytes());
    }
    Ok(files)
}

/// Writes them; returns a record of each.
///
/// # Errors
/// Read or write errors.
pub(crate) fn write_companions(
    plan: &MergePlan,
    recipe: &str,
    staging: &StagingDir,
    options: &MergeOptions,
    algorithm: HashAlgorithm,
) -> Result<BTreeMap<String, FileRecord>, WriteError> {
    let files = companions(plan, recipe, options)?;
    for (name, bytes) in &files {
        staging.write(name, bytes)?;
    }
    Ok(files.iter().map(|(name, bytes)| (name.clone(), FileRecord::of(algorithm, bytes))).collect())
}
