//! Texts from a server.

use serde_json::{Map, Value, json};

use super::client::Client;
use super::error::ServerError;
use crate::eval::language_model::GenerateRequest;
use crate::event::CancelFlag;

/// Stop strings that the protocol takes; the others are cut off here.
const MOST_STOPS: usize = 4;

/// Reply of a chat model, with the tokens it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The text; empty where the model declined to say anything.
    pub text: String,
    /// Tokens of the conversation, as the server counts them.
    pub prompt_tokens: u64,
    /// Tokens of the reply.
    pub completion_tokens: u64,
}

/// Asks `/chat/completions`. Models that want `max_completion_tokens` for `max_tokens` get it.
///
/// # Errors
/// As [`Client::post`], and an answer without message.
pub(crate) fn chat(
    client: &Client,
    mut body: Map<String, Value>,
    request: &str,
    cancel: &CancelFlag,
) -> Result<Reply, ServerError> {
    let path = "/chat/completions";
    let answer = match client.post(path, &Value::Object(body.clone()), request, cancel) {
        Err(error) if error.is_refusal() && error.to_string().contains("max_completion_tokens") => {
            if let Some(limit) = body.remove("max_tokens") {
                body.insert("max_completion_tokens".to_owned(), limit);
            }
            client.post(path, &Value::Object(body), request, cancel)?
        }
        answer => answer?,
    };
    let malformed = |field| ServerError::Malformed { url: client.url().to_owned(), request: request.to_owned(), field };
    finished(&answer, client.url(), request)?;
    let message = answer.pointer("/choices/0/message").ok_or_else(|| malformed("choices[0].message"))?;
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None if message.get("refusal").is_some_and(Value::is_string) => String::new(),
        _ => return Err(malformed("choices[0].message.content")),
    };
    let tokens = |field: &str| answer.pointer(&format!("/usage/{field}")).and_then(Value::as_u64).unwrap_or(0);
    Ok(Reply { text, prompt_tokens: tokens("prompt_tokens"), completion_tokens: tokens("completion_tokens") })
}

/// Refuses an answer that the server says was held back or broke off: what the model would have written is
/// not known, and an empty text is a wrong answer.
///
/// # Errors
/// [`ServerError::NoText`].
pub(crate) fn finished(answer: &Value, url: &str, request: &str) -> Result<(), ServerError> {
    match answer.pointer("/choices/0/finish_reason").and_then(Value::as_str) {
        Some(reason @ ("content_filter" | "error" | "abort" | "cancelled")) => {
            Err(ServerError::NoText { url: url.to_owned(), request: request.to_owned(), reason: reason.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The body of a chat request: the conversation, or the whole prompt as the user's message.
#[must_use]
pub(crate) fn chat_body(model: &str, request: &GenerateRequest, seed: u64) -> Map<String, Value> {
    let messages: Vec<Value> = if request.messages.is_empty() {
        vec![json!({ "role": "user", "content": request.text })]
    } else {
        request.messages.iter().map(|(role, content)| json!({ "role": role, "content": content })).collect()
    };
    let mut body = limits(model, request, seed);
    body.insert("messages".to_owned(), Value::Array(messages));
    body
}

/// The body of a plain completion.
#[must_use]
pub(crate) fn completion_body(model: &str, request: &GenerateRequest, ids: bool, seed: u64) -> Map<String, Value> {
    let mut body = limits(model, request, seed);
    body.insert("prompt".to_owned(), if ids { json!(request.context) } else { json!(request.text) });
    body
}

fn limits(model: &str, request: &GenerateRequest, seed: u64) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    body.insert("max_tokens".to_owned(), request.max_tokens.into());
    body.insert("temperature".to_owned(), json!(request.temperature));
    body.insert("seed".to_owned(), seed.into());
    // An empty stop string would end every text at once.
    let stops: Vec<&String> = request.until.iter().filter(|stop| !stop.is_empty()).take(MOST_STOPS).collect();
    if !stops.is_empty() {
        body.insert("stop".to_owned(), json!(stops));
    }
    body
}

/// The text before the first stop string.
#[must_use]
pub(crate) fn cut(text: &str, until: &[String]) -> String {
    let end = until.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min();
    text.get(..end.unwrap_or(text.len())).unwrap_or(text).to_owned()
}
