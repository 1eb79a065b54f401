//! Reasons why a tokenizer or chat template can't be used.

use std::io;
use std::path::PathBuf;

use crate::error::{Diagnose, ErrorKind};

/// Reasons why a tokenizer or chat template can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TokenizerError {
    #[error("{} has no tokenizer.json", directory.display())]
    Missing { directory: PathBuf, sentencepiece: bool },
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a tokenizer: {message}", path.display())]
    Damaged { path: PathBuf, message: String },
    #[error("{} is not valid JSON", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("the tokenizer {} cannot {action}: {message}", path.display())]
    Refused { path: PathBuf, action: &'static str, message: String },
    #[error("{} has neither a BOS nor an EOS token, so nothing can stand before an empty context", path.display())]
    NoPrefixToken { path: PathBuf },
    #[error("a continuation of {tokens} tokens does not fit the model's length of {max_length}")]
    ContinuationTooLong { tokens: usize, max_length: usize },
    #[error("{} has no chat template", directory.display())]
    NoChatTemplate { directory: PathBuf },
    #[error("{} has no chat template named `{name}`", directory.display())]
    UnknownChatTemplate { directory: PathBuf, name: String, known: Vec<String> },
    #[error("{} has several chat templates and none is the default", directory.display())]
    NoDefaultChatTemplate { directory: PathBuf, known: Vec<String> },
    #[error("the chat template {origin} is not valid: {message}")]
    ChatSyntax { origin: String, message: String },
    #[error("the chat template {origin} refused the conversation: {message}")]
    ChatRefused { origin: String, message: String },
    #[error("the chat template {origin} does not show the final message as it is, so it cannot be continued")]
    ChatNotContinuable { origin: String },
}

impl Diagnose for TokenizerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::UnknownChatTemplate { .. } | Self::NoDefaultChatTemplate { .. } => ErrorKind::Usage,
            _ => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing { sentencepiece: true, .. } => "only a SentencePiece model is there: load it once with \
                 transformers' `AutoTokenizer` and `save_pretrained`, which writes tokenizer.json"
                .to_owned(),
            Self::Missing { .. } => {
                "fetch tokenizer.json and tokenizer_config.json of the model, or copy those of its base model"
                    .to_owned()
            }
            Self::Damaged { .. } | Self::Json { .. } => "fetch the file again".to_owned(),
            Self::ChatSyntax { .. } => "mend the template, or evaluate without one".to_owned(),
            Self::NoPrefixToken { .. } => "name `bos_token` or `eos_token` in tokenizer_config.json".to_owned(),
            Self::ContinuationTooLong { .. } => "shorten the answers, or give a larger `--max-length`".to_owned(),
            Self::NoChatTemplate { .. } => {
                "evaluate without a chat template, or copy chat_template.jinja of the instruct model".to_owned()
            }
            Self::UnknownChatTemplate { known, .. } | Self::NoDefaultChatTemplate { known, .. } => {
                format!("name one of: {}", known.join(", "))
            }
            Self::ChatRefused { .. } => {
                "many templates want user and assistant to take turns: try without few-shot turns or system message"
                    .to_owned()
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
