//! Many questions to a judge.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use super::cache::{VerdictCache, key};
use super::prompt::{Question, Verdict, again, messages, parse};
use crate::error::Result;
use crate::eval::server::generate::{Reply, chat};
use crate::eval::server::{Client, ClientOptions, ServerError};
use crate::event::{Event, Progress};
use crate::parallel::Workers;

/// Price of a million tokens, in whatever currency the user means.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub struct Prices {
    pub prompt: f64,
    pub completion: f64,
}

/// A judge and how to ask it.
#[derive(Debug, Clone)]
pub struct JudgeOptions {
    /// Address and limits of the server.
    pub client: ClientOptions,
    /// The model's name there.
    pub model: String,
    /// Questions at a time.
    pub concurrency: usize,
    /// Most tokens of a reply; room for a thinking part.
    pub max_tokens: usize,
    /// Sent as `seed`.
    pub seed: u64,
    /// File in which verdicts are kept.
    pub cache: Option<PathBuf>,
    /// For the cost.
    pub prices: Option<Prices>,
}

/// Tokens and requests used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Requests answered by the judge, asking again included.
    pub requests: u64,
    /// Questions answered by the cache.
    pub cached: u64,
    /// Questions that got no verdict even when asked again; they are not scored.
    pub unparsed: u64,
    /// Tokens of the questions, as the server counts them.
    pub prompt_tokens: u64,
    /// Tokens of the replies.
    pub completion_tokens: u64,
}

/// Verdicts of the judges.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Judgement {
    /// One verdict a question; `None` where the judge gave none even when asked again.
    pub verdicts: Vec<Option<Verdict>>,
    pub usage: Usage,
    /// Cost; `None` where no prices were given.
    pub cost: Option<f64>,
}

/// A judge that can be asked.
#[derive(Debug)]
pub struct Judge {
    client: Client,
    options: JudgeOptions,
    cache: Option<VerdictCache>,
}

impl Judge {
    /// Opens the cache and prepares to talk to the judge; sends nothing yet.
    ///
    /// # Errors
    /// A missing key, a base URL that is none, a cache that can't be opened.
    pub fn new(options: JudgeOptions) -> Result<Self, ServerError> {
        let client = Client::new(&options.client)?;
        let cache = options.cache.as_deref().map(VerdictCache::open).transpose()?;
        Ok(Self { client, options, cache })
    }

    /// Warning about remembered verdicts that could not be used, given once.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let damaged = self.cache.as_ref().map_or(0, VerdictCache::damaged);
        let text = "remembered verdicts of the judge changed on disk and cannot be used; asked again";
        (damaged > 0).then(|| format!("{damaged} {text}"))
    }

    /// Asks for a verdict on each question. A verdict is kept as soon as it is there, so that a run
    /// that fails or is interrupted loses none.
    ///
    /// # Errors
    /// A judge that refuses or can't be reached, a cache that can't be written, the cancelled run.
    pub fn judge(&self, questions: &[Question], progress: Progress<'_>) -> Result<Judgement> {
        let known = |question: &Question| {
            self.cache.as_ref().is_some_and(|cache| cache.get(&key(&self.options.model, &messages(question))).is_some())
        };
        let cached = questions.iter().filter(|question| known(question)).count();
        progress.event(Event::ScoringStarted { requests: questions.len() - cached, cached });
        let found = Mutex::new((vec![None; questions.len()], Usage::default()));
        Workers::new(self.options.concurrency).for_each_index(questions.len(), |index| -> Result<()> {
            progress.cancel.check()?;
            let Some(question) = questions.get(index) else { return Ok(()) };
            let (verdict, used) = self.one(question, &format!("judge question {index}"), progress)?;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = found.0.get_mut(index) {
                *place = verdict;
            }
            if used.cached == 0 {
                progress.event(Event::RequestsScored(1));
            }
            found.1.add(used);
            Ok(())
        })?;
        let (verdicts, usage) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let cost = self.options.prices.map(|prices| {
            (usage.prompt_tokens as f64 * prices.prompt + usage.completion_tokens as f64 * prices.completion) / 1e6
        });
        Ok(Judgement { verdicts, usage, cost })
    }

    fn one(
        &self,
        question: &Question,
        name: &str,
        progress: Progress<'_>,
    ) -> Result<(Option<Verdict>, Usage), ServerError> {
        let messages = messages(question);
        let key = key(&self.options.model, &messages);
        let mut usage = Usage::default();
        if let Some(verdict) = self.cache.as_ref().and_then(|cache| cache.get(&key)) {
            usage.cached = 1;
            return Ok((Some(verdict), usage));
        }
        let first = self.ask(&messages, name, progress, &mut usage)?;
        let mut verdict = parse(&first.text);
        if verdict.is_none() {
            let messages = again(&messages, &first.text);
            verdict = parse(&self.ask(&messages, &format!("{name} (asked again)"), progress, &mut usage)?.text);
        }
        match (verdict, &self.cache) {
            (Some(verdict), Some(cache)) => cache.put(&key, verdict)?,
            // Not kept: another run may have more luck.
            (None, _) => usage.unparsed = 1,
            _ => {}
        }
        Ok((verdict, usage))
    }

    fn ask(
        &self,
        messages: &[Value],
        name: &str,
        progress: Progress<'_>,
        usage: &mut Usage,
    ) -> Result<Reply, ServerError> {
        let mut body = Map::new();
        body.insert("model".to_owned(), self.options.model.as_str().into());
        body.insert("messages".to_owned(), messages.into());
        body.insert("max_tokens".to_owned(), self.options.max_tokens.into());
        body.insert("temperature".to_owned(), 0.into());
        body.insert("seed".to_owned(), self.options.seed.into());
        let reply = chat(&self.client, body, name, progress.cancel)?;
        usage.requests += 1;
        usage.prompt_tokens += reply.prompt_tokens;
        usage.completion_tokens += reply.completion_tokens;
        Ok(reply)
    }
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.cached += other.cached;
        self.unparsed += other.unparsed;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
    }
}
