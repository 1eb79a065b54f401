//! Errors of a server, and features that it lacks.

use crate::error::{Cancelled, Diagnose, ErrorKind};

/// Reasons why a server's answer can't be used. No variant ever holds the API key.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ServerError {
    #[error("`{url}` is not the base URL of a server")]
    BaseUrl { url: String },
    #[error("environment variable {name} is not set, and it should hold the API key")]
    NoKey { name: String },
    #[error("environment variable {name} does not hold an API key: it has characters that no HTTP header may have")]
    BadKey { name: String },
    #[error("{url} answered {status} to {request}: {message}")]
    Status { url: String, status: u16, request: String, message: String },
    #[error("{url} gave no usable answer to {request} in {attempts} attempts, at last: {message}")]
    Unreachable { url: String, request: String, attempts: u32, message: String },
    #[error("{url} has no model `{model}`; it has {}", list(.available))]
    UnknownModel { url: String, model: String, available: Vec<String> },
    #[error("{url} does not return the prompt's log-probabilities ({message})")]
    NoEcho { url: String, message: String },
    #[error("{url} does not take token ids as a prompt ({message})")]
    TokenIdsRefused { url: String, message: String },
    #[error("{url}: answer to {request} has {found} log-probabilities for a prompt of {expected} tokens")]
    WrongLength { url: String, request: String, expected: usize, found: usize },
    #[error("{url}: answer to {request} has no log-probability for prompt token {position}")]
    MissingLogprob { url: String, request: String, position: usize },
    #[error("{url}: answer to {request} gives prompt token {position} {value}, which is no log-probability")]
    NotALogprob { url: String, request: String, position: usize, value: f64 },
    #[error("{url}: the text of {request} did not come: it ended with `{reason}`")]
    NoText { url: String, request: String, reason: String },
    #[error("{url}: in {request} no token starts where the continuation does")]
    Boundary { url: String, request: String },
    #[error("{url} gives a token {generated} when it writes it and {echoed} when it reads it")]
    Misplaced { url: String, generated: f64, echoed: f64 },
    #[error("{url}: answer to {request} lacks `{field}`")]
    Malformed { url: String, request: String, field: &'static str },
    #[error("cannot read or write the judge's cache {path}")]
    Cache { path: String, source: std::io::Error },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 10;
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

impl ServerError {
    /// Whether the server understood the request and does not want it (a status of 400 to 499).
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status: 400..=499, .. })
    }
}

impl Diagnose for ServerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::BaseUrl { .. } | Self::NoKey { .. } | Self::BadKey { .. } | Self::UnknownModel { .. } => {
                ErrorKind::Usage
            }
            Self::Status { .. } | Self::Unreachable { .. } | Self::Cache { .. } => ErrorKind::Io,
            Self::Cancelled(error) => error.kind(),
            _ => ErrorKind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::BaseUrl { .. } => "give the URL up to and with the version, for example http://localhost:8000/v1",
            Self::NoKey { .. } => "set it, or name another variable",
            Self::Status { status: 401 | 403, .. } => "the server refuses the API key, or wants one",
            Self::Status { status: 404, .. } => "does the base URL end in the version, for example /v1?",
            Self::Unreachable { .. } => "is the server up? fewer requests at a time or a longer time-out may help",
            Self::UnknownModel { .. } => "give the name as the server has it",
            Self::NoEcho { .. } => {
                "scoring needs `/completions` with `echo` and `logprobs`, as vLLM and llama-cpp-python (with \
                 `logits_all`) have; chat-only servers can do `generate_until` tasks alone"
            }
            Self::TokenIdsRefused { .. } => {
                "text prompts are possible where the model's tokenizer is known and the server returns `text_offset`"
            }
            Self::NotALogprob { .. } => "log-probabilities are finite and at most 0; does the server give logits?",
            Self::Misplaced { .. } => {
                "its log-probabilities are not in their places, so its scores would be wrong (llama-cpp-python does \
                 this with prompts that have no begin token)"
            }
            Self::WrongLength { .. } | Self::Boundary { .. } => {
                "is it the same tokenizer, and does the server add or cut tokens?"
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
