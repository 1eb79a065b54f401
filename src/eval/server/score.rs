//! Log-likelihoods from a completion that echoes its prompt.

use serde_json::{Value, json};

use super::error::ServerError;
use crate::eval::language_model::{Score, ScoreRequest};

/// Most that a log-probability may be above 0, by rounding.
const ROUNDING: f64 = 1e-3;

/// The prompt as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// Token ids: what is scored is what was asked.
    Ids(Vec<u32>),
    /// Text, with the number of characters of the context.
    Text {
        /// Context and continuation.
        text: String,
        /// Characters of the context.
        context: usize,
        /// Bytes of the first token's text, which some servers leave out of their answer when it is
        /// the begin token.
        first: usize,
    },
}

/// The body of a request that scores a prompt.
#[must_use]
pub(crate) fn body(model: &str, prompt: &Prompt, max_tokens: u32, seed: u64) -> Value {
    let prompt = match prompt {
        Prompt::Ids(ids) => json!(ids),
        Prompt::Text { text, .. } => json!(text),
    };
    json!({
        "model": model,
        "prompt": prompt,
        "echo": true,
        "logprobs": 1,
        "max_tokens": max_tokens,
        "temperature": 0,
        "seed": seed,
    })
}

/// Reads the score of the continuation out of an answer. `url` and `name` are for errors.
///
/// # Errors
/// Missing log-probabilities, numbers that are none, or another number of them than the prompt has
/// tokens (up to `max_tokens` generated ones may follow).
pub(crate) fn read(
    answer: &Value,
    request: &ScoreRequest,
    prompt: &Prompt,
    max_tokens: u32,
    url: &str,
    name: &str,
) -> Result<Score, ServerError> {
    let (url, name) = (|| url.to_owned(), || name.to_owned());
    let no_echo = |message: &str| ServerError::NoEcho { url: url(), message: message.to_owned() };
    let logprobs = answer.pointer("/choices/0/logprobs").filter(|value| !value.is_null());
    let logprobs = logprobs.ok_or_else(|| no_echo("`logprobs` of the answer is null"))?;
    let list = |field: &str| logprobs.get(field).and_then(Value::as_array);
    let tokens = list("token_logprobs").ok_or_else(|| no_echo("the answer has no `token_logprobs`"))?;
    let top = list("top_logprobs").ok_or_else(|| no_echo("the answer has no `top_logprobs`"))?;
    // A server that does not know `echo` gives the log-probabilities of what it generated.
    let written = match prompt {
        Prompt::Ids(ids) => ids.len(),
        Prompt::Text { .. } => list("text_offset").map_or(0, |offsets| offsets.len() + 1),
    };
    if tokens.len() <= max_tokens as usize && tokens.len() < written {
        return Err(no_echo(&format!("{} log-probabilities came, those of generated tokens alone", tokens.len())));
    }
    let range = match prompt {
        Prompt::Ids(ids) => {
            let generated = tokens.len().checked_sub(ids.len());
            if generated.is_none_or(|generated| generated > max_tokens as usize) || top.len() != tokens.len() {
                return Err(ServerError::WrongLength {
                    url: url(),
                    request: name(),
                    expected: ids.len(),
                    found: tokens.len().min(top.len()),
                });
            }
            request.context.len()..ids.len()
        }
        Prompt::Text { text, context, first } => {
            let offsets = list("text_offset").ok_or_else(|| no_echo("the answer has no `text_offset`"))?;
            let offsets: Vec<usize> = offsets.iter().map(|o| o.as_u64().unwrap_or(u64::MAX) as usize).collect();
            if offsets.len() != tokens.len() || top.len() != tokens.len() {
                let (expected, found) = (offsets.len(), tokens.len().min(top.len()));
                return Err(ServerError::WrongLength { url: url(), request: name(), expected, found });
            }
            // Where the answer leaves out the begin token, offsets count from after it.
            let written: String = list("tokens").into_iter().flatten().filter_map(Value::as_str).collect();
            // The first token alone may be written otherwise than within the text; nothing is left out then.
            let without_first = text.get(*first..).unwrap_or("");
            let left_out = if !written.starts_with(text.as_str()) && written.starts_with(without_first) {
                text.chars().count() - without_first.chars().count()
            } else {
                0
            };
            let total = text.chars().count() - left_out;
            let wanted = context.saturating_sub(left_out);
            let start = offsets.iter().position(|offset| *offset >= wanted);
            // Generated text begins where the prompt ends.
            let end = offsets.iter().position(|offset| *offset >= total).unwrap_or(offsets.len());
            match start {
                Some(start) if offsets.get(start) == Some(&wanted) => start..end,
                _ => return Err(ServerError::Boundary { url: url(), request: name() }),
            }
        }
    };
    let mut score = Score { logprob: 0.0, is_greedy: true };
    for position in range {
        let missing = || ServerError::MissingLogprob { url: url(), request: name(), position };
        let logprob = tokens.get(position).and_then(Value::as_f64).ok_or_else(missing)?;
        let best = top.get(position).and_then(best).ok_or_else(missing)?;
        if let Some(value) = [logprob, best].into_iter().find(|value| !value.is_finite() || *value > ROUNDING) {
            return Err(ServerError::NotALogprob { url: url(), request: name(), position, value });
        }
        score.logprob += logprob.min(0.0);
        score.is_greedy &= logprob >= best;
    }
    Ok(score)
}

/// The largest of the log-probabilities at one place.
fn best(top: &Value) -> Option<f64> {
    let values = top.as_object()?.values().filter_map(Value::as_f64);
    values.reduce(f64::max)
}
