//! The token list with its types.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::refused;
use crate::convert::error::ConvertError;
use crate::convert::gguf::Metadata;

/// Kind of a token, after `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A piece of text.
    Normal,
    Unknown,
    /// A control token: special, never written by a text.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// A place without meaning.
    Unused,
    /// A byte, for text outside the vocabulary.
    Byte,
}

/// The tokens by id.
#[derive(Debug)]
pub(crate) struct Vocabulary<'a> {
    tokens: &'a [String],
    kinds: Vec<TokenKind>,
    ids: BTreeMap<&'a str, u64>,
}

impl<'a> Vocabulary<'a> {
    /// Reads tokens and types.
    ///
    /// # Errors
    /// No tokens, unknown types, lists of different length, or a text that two tokens have.
    pub(crate) fn read(metadata: &'a Metadata) -> Result<Self, ConvertError> {
        let tokens = metadata
            .texts("tokenizer.ggml.tokens")?
            .ok_or_else(|| ConvertError::from(metadata.missing("tokenizer.ggml.tokens")))?;
        let kinds = match metadata.integers("tokenizer.ggml.token_type")? {
            None => vec![TokenKind::Normal; tokens.len()],
            Some(types) => types
                .iter()
                .map(|number| {
                    Some(match number {
                        1 => TokenKind::Normal,
                        2 => TokenKind::Unknown,
                        3 => TokenKind::Control,
                        4 => TokenKind::UserDefined,
                        5 => TokenKind::Unused,
                        6 => TokenKind::Byte,
                        _ => return None,
                    })
                })
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| refused(metadata, "a token has an unknown type"))?,
        };
        if kinds.len() != tokens.len() {
            return Err(refused(metadata, format!("it has {} tokens but {} types", tokens.len(), kinds.len())));
        }
        let mut ids = BTreeMap::new();
        for (id, token) in tokens.iter().enumerate() {
            if ids.insert(token.as_str(), id as u64).is_some() {
                return Err(refused(metadata, format!("two of its tokens are {token:?}")));
            }
        }
        Ok(Self { tokens, kinds, ids })
    }

    /// Number of tokens.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The text of a token.
    #[must_use]
    pub(crate) fn text(&self, id: u64) -> Option<&'a str> {
        self.tokens.get(usize::try_from(id).ok()?).map(String::as_str)
    }

    /// The id of a text.
    #[must_use]
    pub(crate) fn id(&self, text: &str) -> Option<u64> {
        self.ids.get(text).copied()
    }

    /// Every token with its type, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, TokenKind)> {
        self.tokens.iter().map(String::as_str).zip(self.kinds.iter().copied())
    }

    /// The `vocab` of a BPE model: every token but those that only fill the list up.
    #[must_use]
    pub(crate) fn vocab(&self) -> Value {
        let filler = |text: &str, kind, id| kind == TokenKind::Unused && text == format!("[PAD{id}]");
        let tokens = self.iter().enumerate().filter(|(id, (text, kind))| !filler(text, *kind, *id));
        let map: Map<String, Value> = tokens.map(|(id, (text, _))| (text.to_owned(), id.into())).collect();
        Value::Object(map)
    }

    /// `added_tokens`: what is found in a text before anything else.
    #[must_use]
    pub(crate) fn added_tokens(&self) -> Vec<Value> {
        let added = self.iter().enumerate().filter_map(|(id, (text, kind))| {
            let special = match kind {
                TokenKind::Control | TokenKind::Unknown => true,
                TokenKind::UserDefined => false,
                _ => return None,
            };
            // An empty text would be found everywhere.
            (!text.is_empty()).then(|| {
                json!({
                    "id": id,
                    "content": text,
                    "single_word": false,
                    "lstrip": false,
                    "rstrip": false,
                    "normalized": false,
                    "special": special,
                })
            })
        });
        added.collect()
    }
}
