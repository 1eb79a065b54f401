//! Prompts as they are put to a model.

use serde_json::{Map, Value};

use super::config::Sampler;
use super::documents::Documents;
use super::generation::GenerationArguments;
use crate::suggest::nearest;
use crate::tokenizer::{ChatTemplate, Tokenizer, TokenizerError};

/// Settings of writing prompts.
#[derive(Debug, Clone, Copy)]
pub struct PromptSettings<'a> {
    /// Examples; `None` takes the task's own number. A task that says 0 keeps 0, as in the harness.
    pub num_fewshot: Option<usize>,
    /// Seed of the few-shot generator.
    pub fewshot_seed: u64,
    /// Instead of the task's sampler.
    pub sampler: Option<Sampler>,
    /// Selection of documents.
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

/// How prompts are written, as a command line or a file says it: without the documents and before the chat template is
/// read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptOptions {
    /// Examples; `None` takes the task's own number.
    pub num_fewshot: Option<usize>,
    /// Seed of the few-shot generator.
    pub fewshot_seed: u64,
    /// Instead of the task's sampler.
    pub sampler: Option<Sampler>,
    /// Chat template: none, the tokenizer's (an empty name), or one of several.
    pub chat_template: Option<String>,
    /// Put before the task's description.
    pub system_instruction: Option<String>,
    /// Examples are turns of their own (only with a chat template).
    pub fewshot_as_multiturn: bool,
}

impl Default for PromptOptions {
    fn default() -> Self {
        Self {
            num_fewshot: None,
            fewshot_seed: 1234,
            sampler: None,
            chat_template: None,
            system_instruction: None,
            fewshot_as_multiturn: true,
        }
    }
}

impl PromptOptions {
    /// The chat template that is asked for.
    ///
    /// # Errors
    /// The tokenizer has none, or none of the name.
    pub fn template(&self, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>, TokenizerError> {
        let named = |name: &String| tokenizer.chat_template(Some(name.as_str()).filter(|name| !name.is_empty()));
        self.chat_template.as_ref().map(named).transpose()
    }

    /// The settings for these documents, with the opened template.
    #[must_use]
    pub fn settings<'a>(&'a self, documents: Documents, chat: Option<&'a ChatTemplate>) -> PromptSettings<'a> {
        PromptSettings {
            num_fewshot: self.num_fewshot,
            fewshot_seed: self.fewshot_seed,
            sampler: self.sampler,
            documents,
            chat,
            system_instruction: self.system_instruction.as_deref(),
            fewshot_as_multiturn: self.fewshot_as_multiturn,
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
    /// The first of these labels.
    pub unknown_label: Option<UnknownLabel>,
    /// Prompts without the system message, which the chat template refused.
    pub system_dropped: usize,
    /// The counts above and other oddities as sentences.
    pub warnings: Vec<String>,
}

/// A right answer that is none of its document's choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLabel {
    /// Place of the document in its split.
    pub document: usize,
    /// The label as JSON, shortened.
    pub label: String,
    /// The choice that is probably meant.
    pub nearest: Option<String>,
    /// The label is a number in quotes.
    pub quoted_number: bool,
}

impl UnknownLabel {
    pub(super) fn new(document: usize, label: &Value, choices: &[String]) -> Self {
        let fold = |text: &str| text.trim().to_lowercase();
        let text = label.as_str();
        let nearest = text.and_then(|text| {
            let same = choices.iter().find(|choice| fold(choice) == fold(text));
            let known: Vec<&str> = choices.iter().map(String::as_str).collect();
            same.map(String::as_str).or_else(|| nearest(text, &known)).map(str::to_owned)
        });
        let quoted_number = text.is_some_and(|text| text.trim().parse::<usize>().is_ok_and(|n| n < choices.len()));
        Self { document, label: label.to_string().chars().take(80).collect(), nearest, quoted_number }
    }

    /// Advice for the user.
    #[must_use]
    pub fn hint(&self) -> String {
        match (&self.nearest, self.quoted_number) {
            (Some(nearest), _) => {
                format!("did you mean `{nearest}`? labels are compared letter by letter, blanks included")
            }
            (None, true) => {
                "a number in quotes is a text: write the label as a number, or `doc_to_target: \"{{COLUMN}}\"`"
                    .to_owned()
            }
            (None, false) => "`doc_to_target` gives the text of a choice, or its place from 0".to_owned(),
        }
    }
}

impl std::fmt::Display for UnknownLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of document {}", self.label, self.document)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
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
    /// Request to the model.
    pub ask: Ask,
}

/// Request to the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Finds the most probable choice.
    Choices {
        /// One for all choices, or one a choice.
        contexts: Vec<String>,
        /// Continuations scored after the context: one a choice, delimiter included.
        continuations: Vec<String>,
        /// The choices' texts.
        choices: Vec<String>,
        /// Places of the right ones; empty when the answer is none of them.
        gold: Vec<usize>,
    },
    /// Scores a continuation.
    Continuation {
        /// Scored after the context.
        continuation: String,
    },
    /// Scores a text.
    Rolling {
        /// Scored text.
        text: String,
    },
    /// Generates text.
    Generate {
        /// Generation settings.
        arguments: GenerationArguments,
        /// Accepted answers.
        references: Vec<String>,
        /// The label set of a classification task; else empty.
        choices: Vec<String>,
    },
}
