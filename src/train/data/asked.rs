//! Prompt style of rows: through a chat template or as plain text.

use super::content::{Closing, Content};
use crate::tokenizer::ChatTemplate;
use crate::train::recipe::TrainRecipe;

/// Counts of the prompt styles of a run's examples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Rows that a chat template renders.
    pub through_template: usize,
    /// Prompts in plain text. Texts that ask nothing count nowhere.
    pub plain: usize,
    /// The chat template: its name among the tokenizer's (none is the default one) and SHA-256.
    pub template: Option<(Option<String>, String)>,
    /// Whether tasks are asked as chats, and whether they are where the recipe says nothing.
    pub tasks_as_chat: (bool, bool),
}

impl Asked {
    pub(super) fn new(template: Option<&ChatTemplate>, name: Option<&str>) -> Self {
        let template = template.map(|template| (name.map(str::to_owned), template.sha256()));
        Self { template, ..Self::default() }
    }

    /// The recipe with its default for asking tasks written out.
    pub(in crate::train) fn written_out(&self, recipe: &TrainRecipe) -> TrainRecipe {
        TrainRecipe { apply_chat_template: Some(self.tasks_as_chat.0), ..recipe.clone() }
    }

    /// The same recipe for one with that default written out and for one without.
    pub(in crate::train) fn with_default_left_out(&self, recipe: &TrainRecipe) -> TrainRecipe {
        let chosen = recipe.apply_chat_template.filter(|chat| *chat != self.tasks_as_chat.1);
        TrainRecipe { apply_chat_template: chosen, ..recipe.clone() }
    }

    pub(super) fn count(&mut self, content: &Content) {
        match content {
            Content::Chat(_) | Content::Pair { closing: Closing::Turn, .. } => self.through_template += 1,
            Content::Pair { closing: Closing::Eos, .. } => self.plain += 1,
            Content::Text(_) | Content::Tokens { .. } => {}
        }
    }
}
