//! Prompts as they are put to a model.

use serde_json::{Map, Value};

use super::config::Sampler;
use super::documents::Documents;
use crate::tokenizer::ChatTemplate;

/// How prompts are written.
#[derive(Debug, Clone, Copy)]
pub struct PromptSettings<'a> {
    /// Examples; `None` takes the task's own number. A task that says 0 keeps 0, as in the harness.
    pub num_fewshot: Option<usize>,
    /// Seed of the few-shot generator.
    pub fewshot_seed: u64,
    /// Instead of the task's sampler.
    pub sampler: Option<Sampler>,
    /// Which documents are asked.
    pub documents: Documents,
    /// Renders conversations; plain text without it.
    pub chat: Option<&'a ChatTemplate>,
    /// Put before the task's description.
    pub system_instruction: Option<&'a str>,
    /// Examples are turns of their own (only with a chat template).
    pub fewshot_as_multiturn: bool,
    /// Over the task's `generation_kwargs`.
    pub generation_kwargs: Option<&'a Map<String, Value>>,
}

impl Default for PromptSettings<'_> {
    fn default() -> Self {
        Self {
            num_fewshot: None,
            fewshot_seed: 1234,
            sampler: None,
            documents: Documents::All,
            chat: None,
            system_instruction: None,
            fewshot_as_multiturn: true,
            generation_kwargs: None,
        }
    }
}

/// The prompts of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompts {
    /// One a document, in the order of the split.
    pub rendered: Vec<Rendered>,
    /// Examples shown with each.
    pub num_fewshot: usize,
    /// Documents whose examples differ from the harness's, because it would have shown them
    /// themselves.
    pub replaced_shots: usize,
    /// Documents whose right answer is none of the choices.
    pub gold_out_of_range: usize,
    /// Prompts without the system message, which the chat template refused.
    pub system_dropped: usize,
    /// The counts above and other oddities as sentences.
    pub warnings: Vec<String>,
}

/// A document and what is asked about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Place in the split, from 0.
    pub doc_id: usize,
    /// The document.
    pub doc: Value,
    /// The right answer as Python prints it: the samples file's `target`.
    pub target: String,
    /// The prompt (the first one, where every choice has its own).
    pub context: String,
    /// The conversation that the prompt was rendered from: (role, content) pairs, examples as turns
    /// or in one message as asked for.
    pub messages: Vec<(String, String)>,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked of the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Which choice is the most probable.
    Choices {
        /// One for all choices, or one a choice.
        contexts: Vec<String>,
        /// What is scored after the context: one a choice, delimiter included.
        continuations: Vec<String>,
        /// The choices' texts.
        choices: Vec<String>,
        /// Places of the right ones; empty when the answer is none of them.
        gold: Vec<usize>,
    },
    /// How probable a continuation is.
    Continuation {
        /// Scored after the context.
        continuation: String,
    },
    /// How probable a text is.
    Rolling {
        /// The text.
        text: String,
    },
    /// What the model writes.
    Generate {
        /// How it writes.
        arguments: GenerationArguments,
        /// Accepted answers.
        references: Vec<String>,
        /// The label set of a classification task; else empty.
        choices: Vec<String>,
    },
}

/// How a model writes.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationArguments {
    /// The text ends before the first of these; the end-of-sequence text counts without being named.
    pub until: Vec<String>,
    /// Most new tokens.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Whether tokens are drawn.
    pub do_sample: bool,
    /// `generation_kwargs` as the results' samples show them.
    pub raw: Map<String, Value>,
}

/// Names of the most new tokens, in order of priority.
const MAX_TOKENS: &[&str] = &["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"];

impl GenerationArguments {
    /// Reads `generation_kwargs` by the harness's rules: 256 new tokens unless said otherwise, and
    /// greedy unless a temperature above 0 stands without `do_sample: false`.
    #[must_use]
    pub fn from_kwargs(raw: &Map<String, Value>) -> Self {
        let until = match raw.get("until") {
            Some(Value::Array(list)) => list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
            Some(Value::String(text)) => vec![text.clone()],
            _ => Vec::new(),
        };
        let number = |value: &Value| value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        let max_tokens = MAX_TOKENS.iter().find_map(|key| raw.get(*key).and_then(number)).map_or(256, |n| n as usize);
        let temperature = raw.get("temperature").and_then(number).unwrap_or(0.0);
        let do_sample = raw.get("do_sample").and_then(Value::as_bool);
        let temperature = if do_sample == Some(false) { 0.0 } else { temperature };
        let do_sample = do_sample.unwrap_or(temperature > 0.0);
        Self { until, max_tokens, temperature, do_sample, raw: raw.clone() }
    }

    /// Greedy text for the generation protocols of a classification task: no stop string, and few
    /// tokens (PIXIU's 10 unless the task says more).
    #[must_use]
    pub fn for_labels(max_tokens: usize) -> Self {
        let raw = [
            ("until", Value::Array(Vec::new())),
            ("do_sample", Value::Bool(false)),
            ("temperature", Value::from(0.0)),
            ("max_gen_toks", Value::from(max_tokens)),
        ];
        Self::from_kwargs(&raw.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As `normalize_gen_kwargs` of lm-eval 0.4.13.
    #[test]
    fn generation_arguments_follow_the_harness() {
        let read = |value: Value| GenerationArguments::from_kwargs(value.as_object().unwrap());
        let plain = read(json!({"until": "\n", "max_tokens": 5, "max_new_tokens": 7, "temperature": 0.5}));
        assert_eq!((plain.until.as_slice(), plain.max_tokens), (&["\n".to_owned()][..], 7));
        assert_eq!((plain.temperature, plain.do_sample), (0.5, true));
        let greedy = read(json!({"temperature": 0.7, "do_sample": false}));
        assert_eq!((greedy.temperature, greedy.do_sample, greedy.max_tokens), (0.0, false, 256));
        assert!(greedy.until.is_empty());
    }
}
