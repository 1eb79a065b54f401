//! Language models: the one seam between the evaluation engine and a model, local or remote.

use crate::error::Result;
use crate::event::Progress;

/// A continuation to score after a context, as token ids (the harness's pair rule has been applied,
/// and what does not fit the model's length has been cut on the left).
///
/// Requests that belong together (the choices of one document) stand next to each other and carry
/// the same `context`, so that a model can compute it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreRequest {
    /// Tokens before the continuation; never empty.
    pub context: Vec<u32>,
    /// Tokens to score; may be empty, which scores 0 and counts as greedy.
    pub continuation: Vec<u32>,
}

/// Score of one continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Sum of the natural-log probabilities of the continuation's tokens.
    pub logprob: f64,
    /// Whether every token of it is the most probable one at its place.
    pub is_greedy: bool,
}

/// A prompt to continue.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// Prompt tokens, already cut to leave room for `max_tokens`; never empty.
    pub context: Vec<u32>,
    /// The prompt as text, for models on a server.
    pub text: String,
    /// The conversation that `text` was rendered from, for chat servers: (role, content) pairs.
    pub messages: Vec<(String, String)>,
    /// Generation ends before the first of these.
    pub until: Vec<String>,
    /// Most tokens to produce.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
}

/// Text that a model generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The text before the first stop string, special tokens left out.
    pub text: String,
}

/// Called once for each finished request, from any thread, in any order, with the request's index.
pub(crate) type Done<'a, T> = &'a (dyn Fn(usize, T) + Sync);

/// A model that can be asked.
///
/// Results do not depend on which requests are asked together. Both calls end early with
/// [`Cancelled`](crate::error::Cancelled) when the cancel flag is raised; what was passed to `done`
/// before that is final and may be cached.
pub trait LanguageModel: Sync {
    /// Most tokens in context and continuation together.
    fn max_length(&self) -> usize;

    /// Scores continuations.
    ///
    /// # Errors
    /// The failure that stopped the run; requests already passed to `done` keep their results.
    fn score(&self, requests: &[ScoreRequest], done: Done<'_, Score>, progress: Progress<'_>) -> Result<()>;

    /// Continues prompts.
    ///
    /// # Errors
    /// The failure that stopped the run; requests already passed to `done` keep their results.
    fn generate(&self, requests: &[GenerateRequest], done: Done<'_, Generation>, progress: Progress<'_>) -> Result<()>;
}
