//! One JSON request to a server.

use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::error::ServerError;
use super::retry::{RetryPolicy, retry_after};
use crate::event::CancelFlag;

/// Address and limits of a server.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// URL up to and with the version, for example `http://localhost:8000/v1`.
    pub base_url: String,
    /// Environment variable with the API key; `None` sends no key.
    pub key_variable: Option<String>,
    /// Most time for one attempt.
    pub timeout: Duration,
    /// Retries of failed requests.
    pub retry: RetryPolicy,
}

/// Largest answer: the log-probabilities of a long prompt are some MB.
const MOST_BYTES: u64 = 256 << 20;
/// Characters of a server's message that an error quotes.
const QUOTED: usize = 400;

/// A connection pool to one server. Its key is in no error and no `Debug` text.
pub(crate) struct Client {
    agent: Agent,
    base_url: String,
    key: Option<String>,
    retry: RetryPolicy,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.base_url)
            .field("has_key", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

/// Result of one attempt.
enum Attempt {
    Done(Value),
    /// Another attempt may do better.
    Again {
        message: String,
        after: Option<Duration>,
    },
    Refused {
        status: u16,
        message: String,
    },
}

impl Client {
    /// Prepares to talk to a server; sends nothing yet.
    ///
    /// # Errors
    /// A base URL that is none, and a key that is not there.
    pub(crate) fn new(options: &ClientOptions) -> Result<Self, ServerError> {
        let base_url = options.base_url.trim_end_matches('/').to_owned();
        let parsed = base_url.parse::<ureq::http::Uri>().ok();
        let scheme = parsed.as_ref().and_then(|uri| uri.scheme_str());
        if !matches!(scheme, Some("http" | "https")) || base_url.contains('@') {
            return Err(ServerError::BaseUrl { url: without_user(&options.base_url) });
        }
        let key = match &options.key_variable {
            None => None,
            Some(name) => {
                let key = std::env::var(name).ok().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
                let key = key.ok_or_else(|| ServerError::NoKey { name: name.clone() })?;
                if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(ServerError::BadKey { name: name.clone() });
                }
                Some(key)
            }
        };
        let config = Agent::config_builder()
            .timeout_global(Some(options.timeout))
            .http_status_as_error(false)
            // A redirect would take the key to another place.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("billon/", env!("CARGO_PKG_VERSION")));
        Ok(Self { agent: config.build().into(), base_url, key, retry: options.retry })
    }

    /// The base URL.
    #[must_use]
    pub(crate) fn url(&self) -> &str {
        &self.base_url
    }

    /// Posts `body` to a path below the base URL and returns the answer's JSON. `request` names it in
    /// errors and decides the jitter. Attempts that time out, are reset, or get 408, 409, 429, a
    /// 5xx or broken JSON are repeated after a wait.
    ///
    /// # Errors
    /// A refusal, no usable answer in all attempts, or the cancelled run.
    pub(crate) fn post(
        &self,
        path: &str,
        body: &Value,
        request: &str,
        cancel: &CancelFlag,
    ) -> Result<Value, ServerError> {
        self.post_with(self.retry.attempts, path, body, request, cancel)
    }

    /// [`Client::post`] with at most `attempts` attempts.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub(crate) fn post_with(
        &self,
        attempts: u32,
        path: &str,
        body: &Value,
        request: &str,
        cancel: &CancelFlag,
    ) -> Result<Value, ServerError> {
        self.call(attempts.min(self.retry.attempts), request, cancel, || {
            let call = self.agent.post(format!("{}{path}", self.base_url));
            match &self.key {
                Some(key) => call.header("authorization", format!("Bearer {key}")).send_json(body),
                None => call.send_json(body),
            }
        })
    }

    /// Gets a path below the base URL.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub(crate) fn get(&self, path: &str, request: &str, cancel: &CancelFlag) -> Result<Value, ServerError> {
        self.call(self.retry.attempts, request, cancel, || {
            let call = self.agent.get(format!("{}{path}", self.base_url));
            match &self.key {
                Some(key) => call.header("authorization", format!("Bearer {key}")).call(),
                None => call.call(),
            }
        })
    }

    fn call(
        &self,
        attempts: u32,
        request: &str,
        cancel: &CancelFlag,
        send: impl Fn() -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Value, ServerError> {
        let attempts = attempts.max(1);
        let mut last = String::new();
        for attempt in 0..attempts {
            cancel.check()?;
            match self.outcome(send()) {
                Attempt::Done(value) => return Ok(value),
                Attempt::Refused { status, message } => {
                    let request = request.to_owned();
                    return Err(ServerError::Status { url: self.base_url.clone(), status, request, message });
                }
                Attempt::Again { message, after } => {
                    last = message;
                    if attempt + 1 < attempts {
                        sleep(self.retry.delay(request, attempt, after), cancel)?;
                    }
                }
            }
        }
        let (url, request) = (self.base_url.clone(), request.to_owned());
        Err(ServerError::Unreachable { url, request, attempts, message: last })
    }

    fn outcome(&self, response: Result<Response<Body>, ureq::Error>) -> Attempt {
        let mut response = match response {
            Ok(response) => response,
            // A host that has no name won't get one.
            Err(ureq::Error::HostNotFound) => {
                return Attempt::Refused { status: 0, message: "the host was not found".to_owned() };
            }
            Err(error) => return Attempt::Again { message: self.safe(&error.to_string()), after: None },
        };
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = after.and_then(|value| retry_after(value, crate::clock::instant()));
        let text = match response.body_mut().with_config().limit(MOST_BYTES).lossy_utf8(true).read_to_string() {
            Ok(text) => text,
            Err(error) => {
                let message = format!("the answer broke off: {}", self.safe(&error.to_string()));
                return Attempt::Again { message, after };
            }
        };
        let value = serde_json::from_str::<Value>(&text);
        match status {
            200..=299 => match value {
                Ok(value) if value.get("error").is_some_and(|error| !error.is_null()) => {
                    Attempt::Refused { status, message: self.safe(&message(&value, &text)) }
                }
                Ok(value) => Attempt::Done(value),
                Err(error) => Attempt::Again { message: format!("the answer is not JSON: {error}"), after },
            },
            408 | 409 | 429 | 500..=599 => {
                let message = self.safe(&message(&value.unwrap_or(Value::Null), &text));
                Attempt::Again { message: format!("{status} {message}"), after }
            }
            _ => Attempt::Refused { status, message: self.safe(&message(&value.unwrap_or(Value::Null), &text)) },
        }
    }

    /// A text to quote: short, on one line, without the key.
    fn safe(&self, text: &str) -> String {
        let text = match &self.key {
            Some(key) => text.replace(key.as_str(), "<key>"),
            None => text.to_owned(),
        };
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() > QUOTED { line.chars().take(QUOTED).chain(['…']).collect() } else { line }
    }
}

/// Error message of a server: `error.message`, `message`, `detail`, or its whole answer.
fn message(value: &Value, text: &str) -> String {
    let found = value
        .pointer("/error/message")
        .or_else(|| value.get("message"))
        .or_else(|| value.get("detail"))
        .or_else(|| value.get("error"));
    match found {
        Some(Value::String(message)) => message.clone(),
        Some(other) => other.to_string(),
        None if text.trim().is_empty() => "no message".to_owned(),
        None => text.to_owned(),
    }
}

/// A URL without the user and password that it should not have.
fn without_user(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &url[..scheme + 3], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

/// Waits, but not longer than until the run is cancelled.
fn sleep(duration: Duration, cancel: &CancelFlag) -> Result<(), ServerError> {
    let end = Instant::now() + duration;
    loop {
        cancel.check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        crate::parallel::sleep(left.min(Duration::from_millis(50)));
    }
}
