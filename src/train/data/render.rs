//! Text of a conversation under a chat template.

use serde_json::{Map, Value};

use super::content::Conversation;
use crate::tokenizer::{ChatTemplate, TokenizerError};

/// The first `count` messages as the template shows them.
pub(super) fn render(
    template: &ChatTemplate,
    conversation: &Conversation,
    count: usize,
    prompt: bool,
) -> Result<String, TokenizerError> {
    let messages: Vec<Map<String, Value>> =
        conversation.turns.iter().take(count).map(|turn| turn.message.clone()).collect();
    template.render_messages(&messages, &conversation.variables, prompt)
}
