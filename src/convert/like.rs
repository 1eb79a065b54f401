//! Config and tokenizer taken from a directory of the original model.

use std::path::Path;

use serde_json::Value;

use super::error::ConvertError;
use super::shapes::Shapes;
use crate::checkpoint::config::{ConfigEdit, ModelConfig};
use crate::dtype::DType;
use crate::merge::output::files::COMPANION_FILES;

/// The files to write: name and contents.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// Copies the companions of `directory` (tokenizer, generation config, chat template) and its
/// config with the dtype changed, after a look whether it is a config of this model.
///
/// # Errors
/// A missing or malformed config, and sizes that differ from the GGUF file's.
pub(crate) fn companions(directory: &Path, shapes: &Shapes, tied: bool, dtype: DType) -> Result<Files, ConvertError> {
    let path = directory.join("config.json");
    let text = read(&path)?;
    let malformed = |source| ConvertError::LikeConfig { path: path.clone(), source };
    let text = String::from_utf8_lossy(&text).into_owned();
    let config = ModelConfig::parse(&path, text).map_err(malformed)?;
    let decoder = config.decoder();
    let sizes = [
        ("hidden_size", shapes.hidden),
        ("intermediate_size", shapes.intermediate),
        ("num_hidden_layers", shapes.layers),
        ("num_attention_heads", shapes.heads),
        ("num_key_value_heads", shapes.kv_heads),
        ("vocab_size", shapes.vocabulary),
        ("head_dim", shapes.head_dim),
    ];
    let mismatch = |key, found: &Value, expected: String| ConvertError::LikeMismatch {
        path: path.clone(),
        key,
        found: found.to_string(),
        expected,
    };
    for (key, expected) in sizes {
        // What the file leaves to the family's default can't be compared.
        if let Some(found) = decoder.get(key).filter(|found| !found.is_null() && found.as_u64() != Some(expected)) {
            return Err(mismatch(key, found, expected.to_string()));
        }
    }
    let key = "tie_word_embeddings";
    if let Some(found) = decoder.get(key).or_else(|| config.value().get(key)).filter(|f| f.as_bool() != Some(tied)) {
        return Err(mismatch(key, found, tied.to_string()));
    }
    let edit = ConfigEdit { dtype: dtype.torch_name(), ..ConfigEdit::default() };
    let edited = config.edited(&edit).map_err(malformed)?;
    let mut files = vec![("config.json".to_owned(), edited.into_bytes())];
    for name in COMPANION_FILES {
        let path = directory.join(name);
        if path.is_file() {
            files.push(((*name).to_owned(), read(&path)?));
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, ConvertError> {
    crate::storage::input::read(path, crate::storage::input::LIST_BYTES)
        .map_err(|source| ConvertError::Read { path: path.into(), source })
}
