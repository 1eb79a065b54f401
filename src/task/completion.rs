//! The right answer to a prompt, as a specialist is trained to give it.

use super::answer::{Document, answer_text};
use super::data::Task;
use super::error::TaskError;
use super::prompt::{Ask, PromptSettings, Rendered};

/// A prompt and its right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The prompt that the evaluation puts.
    pub context: String,
    /// The answer, with what stands between the two in front.
    pub continuation: String,
}

impl Task {
    /// The right answer to a prompt that [`prompts`](Self::prompts) wrote under the same settings;
    /// `None` when it is none of the choices.
    ///
    /// Where the evaluation scores continuations it is the one that it hopes for, to the letter. Where
    /// the model writes freely it is the answer that a few-shot example shows
    /// (`fewshot_config.doc_to_target`, else `doc_to_target`) after the delimiter that choices get.
    ///
    /// # Errors
    /// A template that fails on the document.
    pub fn completion(
        &self,
        rendered: &Rendered,
        settings: &PromptSettings<'_>,
    ) -> Result<Option<Completion>, TaskError> {
        let pair = |context: &String, continuation: String| Completion { context: context.clone(), continuation };
        Ok(match &rendered.ask {
            Ask::Choices { contexts, continuations, gold, .. } => gold.first().and_then(|place| {
                let context = contexts.get(if contexts.len() == 1 { 0 } else { *place })?;
                Some(pair(context, continuations.get(*place)?.clone()))
            }),
            Ask::Continuation { continuation } => Some(pair(&rendered.context, continuation.clone())),
            Ask::Rolling { text } => Some(Completion { context: String::new(), continuation: text.clone() }),
            Ask::Generate { references, .. } => {
                let answer = match &self.config().fewshot.doc_to_target {
                    None => references.first().cloned(),
                    shown => self.shown_answer(rendered, shown.as_ref())?,
                };
                answer.map(|answer| pair(&rendered.context, [self.delimiter(settings), &answer].concat()))
            }
        })
    }

    fn shown_answer(
        &self,
        rendered: &Rendered,
        field: Option<&super::config::Field>,
    ) -> Result<Option<String>, TaskError> {
        let Some(doc) = self.documents().get(rendered.doc_id) else { return Ok(None) };
        let document = Document::new(self, rendered.doc_id, doc);
        let choices = document.choices(self.config().fewshot.doc_to_choice.as_ref())?;
        Ok(answer_text(&document.target(field)?, choices.as_deref()))
    }
}
