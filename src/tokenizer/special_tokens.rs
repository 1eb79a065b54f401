//! Special tokens by role, as transformers finds them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::error::TokenizerError;

/// Roles that templates may name.
const ROLES: &[&str] = &["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Special tokens that transformers' tokenizer classes assume where the files say nothing.
const CLASS_DEFAULTS: &[(&str, &[(&str, &str)])] = &[
    (
        "GPT2Tokenizer",
        &[("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")],
    ),
    ("LlamaTokenizer", &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")]),
    ("CodeLlamaTokenizer", &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")]),
    (
        "Qwen2Tokenizer",
        &[("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")],
    ),
    (
        "GemmaTokenizer",
        &[("bos_token", "<bos>"), ("eos_token", "<eos>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")],
    ),
];

/// The texts of a tokenizer's special tokens by role (`bos_token`, `eos_token`, ...).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    texts: BTreeMap<String, String>,
}

impl SpecialTokens {
    /// The given texts by role.
    #[must_use]
    pub fn new(texts: BTreeMap<String, String>) -> Self {
        Self { texts }
    }

    /// Reads `tokenizer_config.json`, then `special_tokens_map.json`, then what the tokenizer class
    /// assumes; an explicit `null` means that there is none.
    pub(super) fn read(directory: &Path, config: &Value) -> Result<Self, TokenizerError> {
        let map = read_json(&directory.join("special_tokens_map.json"))?.unwrap_or(Value::Null);
        let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or("");
        let class = class.strip_suffix("Fast").unwrap_or(class);
        let defaults = CLASS_DEFAULTS.iter().find(|(name, _)| *name == class).map_or(&[][..], |(_, texts)| texts);
        let mut texts = BTreeMap::new();
        for role in ROLES {
            let given = config.get(*role).or_else(|| map.get(*role));
            let text = match given {
                Some(value) => token_text(value),
                None => defaults.iter().find(|(name, _)| name == role).map(|(_, text)| (*text).to_owned()),
            };
            if let Some(text) = text {
                texts.insert((*role).to_owned(), text);
            }
        }
        Ok(Self { texts })
    }

    /// The text of a role.
    #[must_use]
    pub fn get(&self, role: &str) -> Option<&str> {
        self.texts.get(role).map(String::as_str)
    }

    /// Roles and texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(role, text)| (role.as_str(), text.as_str()))
    }
}

/// A token is written as its text or as an object with `content`.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str)).map(str::to_owned)
}

/// A JSON file, `None` when it does not exist.
pub(super) fn read_json(path: &Path) -> Result<Option<Value>, TokenizerError> {
    match crate::storage::input::read(path, crate::storage::input::SETTINGS_BYTES) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| TokenizerError::Json { path: path.to_owned(), source }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Io { path: path.to_owned(), source }),
    }
}
