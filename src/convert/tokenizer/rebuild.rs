//! Rebuilds the two files of a tokenizer.

use serde_json::{Map, Value, json};

use super::parts::refused;
use super::vocabulary::Vocabulary;
use super::{byte_level, sentencepiece};
use crate::convert::config::SpecialIds;
use crate::convert::error::ConvertError;
use crate::convert::gguf::Metadata;

/// A tokenizer's two files.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: Value,
    /// `tokenizer_config.json`.
    pub config: Map<String, Value>,
}

/// Rebuilds the tokenizer; `None` when the file has none.
///
/// # Errors
/// [`ConvertError::Tokenizer`] when what it would do is not known for certain.
pub(crate) fn rebuild(
    metadata: &Metadata,
    special: &SpecialIds,
    context_length: Option<u64>,
) -> Result<Option<TokenizerFiles>, ConvertError> {
    let kind = match metadata.text("tokenizer.ggml.model")? {
        None | Some("no_vocab" | "none") => return Ok(None),
        Some(kind) => kind,
    };
    let vocabulary = Vocabulary::read(metadata)?;
    let (model, add_bos) = match kind {
        "gpt2" => byte_level::parts(metadata, &vocabulary)?,
        "llama" => sentencepiece::parts(metadata, &vocabulary, special)?,
        other => return Err(refused(metadata, format!("its kind `{other}` is not supported"))),
    };
    let add_bos = metadata.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos);
    let add_eos = metadata.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
    let first = special.bos.filter(|_| add_bos).and_then(|id| Some((vocabulary.text(id)?, id)));
    let last = special.eos.filter(|_| add_eos).and_then(|id| Some((vocabulary.text(id)?, id)));
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added_tokens(),
        "normalizer": model.normalizer,
        "pre_tokenizer": model.pre_tokenizer,
        "post_processor": template(first, last),
        "decoder": model.decoder,
        "model": model.model,
    });
    let mut config = Map::new();
    config.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
    for (key, id) in [("bos", special.bos), ("eos", special.eos), ("pad", special.pad), ("unk", special.unk)] {
        if let Some(text) = id.and_then(|id| vocabulary.text(id)) {
            config.insert(format!("{key}_token"), text.into());
        }
    }
    config.insert("clean_up_tokenization_spaces".to_owned(), false.into());
    if let Some(length) = context_length {
        config.insert("model_max_length".to_owned(), length.into());
    }
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        config.insert("chat_template".to_owned(), template.into());
    }
    Ok(Some(TokenizerFiles { tokenizer, config }))
}

/// Puts `first` before and `last` after every text.
fn template(first: Option<(&str, u64)>, last: Option<(&str, u64)>) -> Value {
    if first.is_none() && last.is_none() {
        return Value::Null;
    }
    let sequence = |name: &str, type_id: u32| {
        let token = |token: Option<(&str, u64)>| {
            token.map(|(text, _)| json!({ "SpecialToken": { "id": text, "type_id": type_id } }))
        };
        let text = json!({ "Sequence": { "id": name, "type_id": type_id } });
        [token(first), Some(text), token(last)].into_iter().flatten().collect::<Vec<_>>()
    };
    let mut tokens = Map::new();
    for (text, id) in [first, last].into_iter().flatten() {
        tokens.insert(text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] }));
    }
    let pair: Vec<Value> = sequence("A", 0).into_iter().chain(sequence("B", 1)).collect();
    json!({ "type": "TemplateProcessing", "single": sequence("A", 0), "pair": pair, "special_tokens": tokens })
}
