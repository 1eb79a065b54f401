//! Models on a server that speaks `OpenAI`'s protocol (vLLM, `SGLang`, llama.cpp, hosted ones).
//!
//! - [`client`]: one JSON request, tried again when that can help.
//! - [`retry`]: how long to wait before that.
//! - [`score`]: log-likelihoods from `/completions` with `echo` and `logprobs`.
//! - [`generate`]: texts from `/chat/completions` or `/completions`.
//! - [`openai`]: both as a [`LanguageModel`](super::language_model::LanguageModel), after a probe that
//!   says what the server can't do before anything is paid for.

pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod generate;
pub(crate) mod openai;
pub(crate) mod retry;
pub(crate) mod score;

pub(crate) use client::Client;
pub use client::ClientOptions;
pub(crate) use error::ServerError;
pub use openai::{Decode, Needs, OpenAiServer, ServerOptions};
pub use retry::RetryPolicy;
