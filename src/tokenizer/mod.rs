//! A model's tokenizer and chat template.
//!
//! [`Tokenizer`] reads `tokenizer.json` and what stands beside it: special tokens and chat
//! templates. [`pair`] splits a context and its continuation into tokens by the harness's rule,
//! [`chat`] renders conversations byte for byte as transformers does, and [`train`] makes a
//! tokenizer from a corpus. [`Vocabulary`] is what two models are compared by before they are merged.

pub(crate) mod chat;
mod encoder;
mod error;
pub(crate) mod pair;
mod special_tokens;
pub(crate) mod train;
mod vocabulary;

pub use chat::{ChatTemplate, Message};
pub use encoder::Tokenizer;
pub use error::TokenizerError;
pub use special_tokens::SpecialTokens;
pub(crate) use vocabulary::Vocabulary;
