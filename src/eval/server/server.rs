//! A server as a language model.

use serde_json::Value;

use super::client::{Client, ClientOptions};
use super::error::ServerError;
use super::generate::{chat, chat_body, completion_body, cut, finished};
use super::score::{self, Prompt};
use crate::error::Result;
use crate::eval::language_model::{Done, GenerateRequest, Generation, LanguageModel, Score, ScoreRequest};
use crate::event::{CancelFlag, Event, Progress};
use crate::parallel::Workers;

/// From token ids to the text that they are, special tokens included; for servers that take only
/// text.
pub type Decode = Box<dyn Fn(&[u32]) -> Result<String> + Send + Sync>;

/// A model on a server.
pub struct ServerOptions {
    /// Address and limits of the server.
    pub client: ClientOptions,
    /// The model's name there; empty takes the only one there is.
    pub model: String,
    /// Most tokens in context and continuation together.
    pub max_length: usize,
    /// Requests at a time.
    pub concurrency: usize,
    /// Generate with `/chat/completions` (else `/completions`).
    pub chat: bool,
    /// Tokens generated after a scored prompt: 1, or 0 on servers that take it (some take 0 for no
    /// limit).
    pub score_max_tokens: u32,
    /// Sent as `seed`.
    pub seed: u64,
    /// Tokens of a short prompt as the tasks have them (with the begin token, if they have it): the
    /// probe's question. At least two.
    pub probe: Vec<u32>,
    /// Allows text prompts where token ids are refused.
    pub decode: Option<Decode>,
}

/// Features that a run will need, so that only those are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Log-likelihoods.
    pub score: bool,
    /// Texts.
    pub generate: bool,
}

/// A model on a server, probed.
pub struct OpenAiServer {
    client: Client,
    options: ServerOptions,
    model: String,
    /// Whether prompts are sent as token ids.
    ids: bool,
}

impl OpenAiServer {
    /// Looks whether the server has the model and can do what is needed: one small request for each.
    ///
    /// # Errors
    /// A [`ServerError`] naming what the server can't do.
    pub fn connect(options: ServerOptions, needs: Needs, cancel: &CancelFlag) -> Result<Self> {
        let client = Client::new(&options.client)?;
        let model = find_model(&client, &options.model, cancel)?;
        let mut server = Self { client, options, model, ids: true };
        if needs.score {
            server.probe_scoring(cancel)?;
        }
        if needs.generate {
            let request = GenerateRequest {
                context: server.options.probe.clone(),
                text: "Hello".to_owned(),
                messages: vec![("user".to_owned(), "Hello".to_owned())],
                until: Vec::new(),
                max_tokens: 1,
                temperature: 0.0,
            };
            server.generate_one(&request, "the generation probe", cancel)?;
        }
        Ok(server)
    }

    /// The model's name on the server.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether prompts are sent as token ids, not as text.
    #[must_use]
    pub fn sends_ids(&self) -> bool {
        self.ids
    }

    fn probe_scoring(&mut self, cancel: &CancelFlag) -> Result<()> {
        let (continuation, context) = self.options.probe.split_last().unwrap_or((&0, &[]));
        let request = ScoreRequest { context: context.to_vec(), continuation: vec![*continuation] };
        let name = "the scoring probe";
        let body = |server: &Self, prompt: &Prompt| {
            score::body(&server.model, prompt, server.options.score_max_tokens, server.options.seed)
        };
        let prompt = self.prompt(&request)?;
        // Some servers answer ids with a 500: no long wait for that one.
        match self.client.post_with(2, "/completions", &body(self, &prompt), name, cancel) {
            Ok(answer) => {
                score::read(&answer, &request, &prompt, self.options.score_max_tokens, self.client.url(), name)?;
                Ok(())
            }
            Err(error @ (ServerError::Status { .. } | ServerError::Unreachable { .. })) => {
                self.ids = false;
                self.probe_text(error.to_string(), cancel)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ids were refused (with `message`): for being ids, or for echo and log-probabilities? A text
    /// tells. Then the token that the server generates after it is scored as a continuation, which
    /// must give what the server gave for it: some servers are one place off.
    fn probe_text(&self, message: String, cancel: &CancelFlag) -> Result<()> {
        let name = "the scoring probe";
        let url = || self.client.url().to_owned();
        let Some(decode) = &self.options.decode else {
            let text = Prompt::Text { text: "a b".to_owned(), context: 2, first: 0 };
            let body = score::body(&self.model, &text, 1, self.options.seed);
            return Err(match self.client.post("/completions", &body, name, cancel) {
                Err(error) if error.is_refusal() => ServerError::NoEcho { url: url(), message },
                Err(error) => error,
                Ok(_) => ServerError::TokenIdsRefused { url: url(), message },
            }
            .into());
        };
        let context = decode(&self.options.probe)?;
        let first = decode(self.options.probe.get(..1).unwrap_or(&[]))?.len();
        let ask = |text: &str| {
            let prompt = Prompt::Text { text: text.to_owned(), context: context.chars().count(), first };
            let answer = self.client.post(
                "/completions",
                &score::body(&self.model, &prompt, 1, self.options.seed),
                name,
                cancel,
            );
            Ok::<_, ServerError>((prompt, answer?))
        };
        let (_, answer) = match ask(&context) {
            Err(error) if error.is_refusal() => {
                return Err(ServerError::NoEcho { url: url(), message: error.to_string() }.into());
            }
            answer => answer?,
        };
        let last =
            |field: &str| answer.pointer(&format!("/choices/0/logprobs/{field}")).and_then(Value::as_array)?.last();
        let count = answer.pointer("/choices/0/logprobs/token_logprobs").and_then(Value::as_array).map_or(0, Vec::len);
        if count == 1 {
            let message = "1 log-probability came, that of the generated token alone".to_owned();
            return Err(ServerError::NoEcho { url: url(), message }.into());
        }
        let token = last("tokens").and_then(Value::as_str).unwrap_or("");
        let Some(generated) = last("token_logprobs").and_then(Value::as_f64) else {
            let message = "the answer has no `token_logprobs`".to_owned();
            return Err(ServerError::NoEcho { url: url(), message }.into());
        };
        let (prompt, answer) = ask(&format!("{context}{token}"))?;
        let request = ScoreRequest { context: self.options.probe.clone(), continuation: vec![0] };
        let echoed = score::read(&answer, &request, &prompt, 1, self.client.url(), name)?.logprob;
        // Batch shapes and caches move the last digits only.
        if (echoed - generated).abs() > 0.1 {
            return Err(ServerError::Misplaced { url: url(), generated, echoed }.into());
        }
        Ok(())
    }

    fn prompt(&self, request: &ScoreRequest) -> Result<Prompt> {
        let whole = [request.context.as_slice(), &request.continuation].concat();
        Ok(match (&self.options.decode, self.ids) {
            (Some(decode), false) => {
                let context = decode(&request.context)?;
                let first = decode(request.context.get(..1).unwrap_or(&[]))?.len();
                Prompt::Text { text: decode(&whole)?, context: context.chars().count(), first }
            }
            _ => Prompt::Ids(whole),
        })
    }

    fn score_one(&self, request: &ScoreRequest, name: &str, cancel: &CancelFlag) -> Result<Score> {
        if request.continuation.is_empty() {
            return Ok(Score { logprob: 0.0, is_greedy: true });
        }
        let prompt = self.prompt(request)?;
        let limit = self.options.score_max_tokens;
        let body = score::body(&self.model, &prompt, limit, self.options.seed);
        let answer = self.client.post("/completions", &body, name, cancel)?;
        Ok(score::read(&answer, request, &prompt, limit, self.client.url(), name)?)
    }

    fn generate_one(&self, request: &GenerateRequest, name: &str, cancel: &CancelFlag) -> Result<Generation> {
        let text = if self.options.chat {
            chat(&self.client, chat_body(&self.model, request, self.options.seed), name, cancel)?.text
        } else {
            let body = Value::Object(completion_body(&self.model, request, self.ids, self.options.seed));
            let answer = self.client.post("/completions", &body, name, cancel)?;
            finished(&answer, self.client.url(), name)?;
            let field = "choices[0].text";
            let url = || self.client.url().to_owned();
            let text = answer.pointer("/choices/0/text").and_then(Value::as_str);
            text.ok_or_else(|| ServerError::Malformed { url: url(), request: name.to_owned(), field })?.to_owned()
        };
        Ok(Generation { text: cut(&text, &request.until) })
    }
}

/// The model's name, checked against `/models` where the server has that.
fn find_model(client: &Client, wanted: &str, cancel: &CancelFlag) -> Result<String> {
    let listed = match client.get("/models", "the list of models", cancel) {
        Ok(listed) => listed,
        // Not every server has a list; one that can't be reached at all has failed already.
        Err(error) if !wanted.is_empty() && error.is_refusal() => return Ok(wanted.to_owned()),
        Err(error) => return Err(error.into()),
    };
    let names = listed.get("data").and_then(Value::as_array).into_iter().flatten();
    let available: Vec<String> =
        names.filter_map(|model| model.get("id").and_then(Value::as_str)).map(str::to_owned).collect();
    match available.as_slice() {
        [only] if wanted.is_empty() => Ok(only.clone()),
        names if names.iter().any(|name| name == wanted) => Ok(wanted.to_owned()),
        // An empty list says nothing about a name that was given.
        [] if !wanted.is_empty() => Ok(wanted.to_owned()),
        _ => {
            let (url, model) = (client.url().to_owned(), wanted.to_owned());
            Err(ServerError::UnknownModel { url, model, available }.into())
        }
    }
}

impl LanguageModel for OpenAiServer {
    fn max_length(&self) -> usize {
        self.options.max_length
    }

    fn score(&self, requests: &[ScoreRequest], done: Done<'_, Score>, progress: Progress<'_>) -> Result<()> {
        Workers::new(self.options.concurrency).for_each_index(requests.len(), |index| {
            progress.cancel.check()?;
            let Some(request) = requests.get(index) else { return Ok(()) };
            done(index, self.score_one(request, &format!("scoring request {index}"), progress.cancel)?);
            progress.event(Event::RequestsScored(1));
            Ok(())
        })
    }

    fn generate(&self, requests: &[GenerateRequest], done: Done<'_, Generation>, progress: Progress<'_>) -> Result<()> {
        Workers::new(self.options.concurrency).for_each_index(requests.len(), |index| {
            progress.cancel.check()?;
            let Some(request) = requests.get(index) else { return Ok(()) };
            done(index, self.generate_one(request, &format!("generation request {index}"), progress.cancel)?);
            progress.event(Event::RequestsScored(1));
            Ok(())
        })
    }
}
