//! A server as a language model.

use serde_json::Value;

use super::client::{Client, ClientOptions};
use super::dispatch::for_each_index;
use super::error::ServerError;
use super::generate::{chat, chat_body, completion_body, cut};
use super::score::{self, Prompt};
use crate::error::Result;
use crate::eval::language_model::{Done, GenerateRequest, Generation, LanguageModel, Score, ScoreRequest};
use crate::event::{CancelFlag, Event, Progress};

/// From token ids to the text that they are, special tokens included; for servers that take only
/// text.
pub type Decode = Box<dyn Fn(&[u32]) -> String + Send + Sync>;

/// A model on a server.
pub struct ServerOptions {
    /// How to reach it.
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
    /// Allows text prompts where token ids are refused.
    pub decode: Option<Decode>,
}

/// What a run will ask for, so that only that is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Log-likelihoods.
    pub score: bool,
    /// Texts.
    pub generate: bool,
}

/// A model behind a server, probed.
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
                context: PROBE.to_vec(),
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
        let (context, continuation) = PROBE.split_at(PROBE.len() - 1);
        let request = ScoreRequest { context: context.to_vec(), continuation: continuation.to_vec() };
        let name = "the scoring probe";
        let body = |server: &Self, prompt: &Prompt| {
            score::body(&server.model, prompt, server.options.score_max_tokens, server.options.seed)
        };
        let prompt = self.prompt(&request);
        // Some servers answer ids with a 500: no long wait for that one.
        let answer = match self.client.post_with(2, "/completions", &body(self, &prompt), name, cancel) {
            Err(error @ (ServerError::Status { .. } | ServerError::Unreachable { .. })) => {
                // Refused for the ids, or for echo and logprobs? A text prompt tells.
                let text = Prompt::Text { text: "a b".to_owned(), context: 2 };
                let message = error.to_string();
                let url = self.client.url().to_owned();
                match self.client.post("/completions", &body(self, &text), name, cancel) {
                    Err(error) if error.is_refusal() => return Err(ServerError::NoEcho { url, message }.into()),
                    Err(error) => return Err(error.into()),
                    Ok(_) => {}
                }
                if self.options.decode.is_none() {
                    return Err(ServerError::TokenIdsRefused { url, message }.into());
                }
                self.ids = false;
                return Ok(());
            }
            answer => answer?,
        };
        score::read(&answer, &request, &prompt, self.options.score_max_tokens, self.client.url(), name)?;
        Ok(())
    }

    fn prompt(&self, request: &ScoreRequest) -> Prompt {
        match (&self.options.decode, self.ids) {
            (Some(decode), false) => {
                let context = decode(&request.context);
                let whole = [request.context.as_slice(), &request.continuation].concat();
                Prompt::Text { text: decode(&whole), context: context.chars().count() }
            }
            _ => Prompt::Ids([request.context.as_slice(), &request.continuation].concat()),
        }
    }

    fn score_one(&self, request: &ScoreRequest, name: &str, cancel: &CancelFlag) -> Result<Score> {
        if request.continuation.is_empty() {
            return Ok(Score { logprob: 0.0, is_greedy: true });
        }
        let prompt = self.prompt(request);
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
            let field = "choices[0].text";
            let url = || self.client.url().to_owned();
            let text = answer.pointer("/choices/0/text").and_then(Value::as_str);
            text.ok_or_else(|| ServerError::Malformed { url: url(), request: name.to_owned(), field })?.to_owned()
        };
        Ok(Generation { text: cut(&text, &request.until) })
    }
}

/// Small token ids, which every vocabulary has.
const PROBE: [u32; 4] = [1, 4, 5, 6];

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
        for_each_index(requests.len(), self.options.concurrency, |index| {
            progress.cancel.check()?;
            let Some(request) = requests.get(index) else { return Ok(()) };
            done(index, self.score_one(request, &format!("scoring request {index}"), progress.cancel)?);
            progress.event(Event::RequestsScored(1));
            Ok(())
        })
    }

    fn generate(&self, requests: &[GenerateRequest], done: Done<'_, Generation>, progress: Progress<'_>) -> Result<()> {
        for_each_index(requests.len(), self.options.concurrency, |index| {
            progress.cancel.check()?;
            let Some(request) = requests.get(index) else { return Ok(()) };
            done(index, self.generate_one(request, &format!("generation request {index}"), progress.cancel)?);
            progress.event(Event::RequestsScored(1));
            Ok(())
        })
    }
}
