//! What both kinds of tokenizer give, and refusals.

use serde_json::Value;

use crate::convert::error::ConvertError;
use crate::convert::gguf::Metadata;

/// The parts of `tokenizer.json` that depend on the kind.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) decoder: Value,
    pub(super) model: Value,
}

pub(super) fn refused(metadata: &Metadata, why: impl Into<String>) -> ConvertError {
    ConvertError::Tokenizer { file: metadata.file().into(), why: why.into() }
}
