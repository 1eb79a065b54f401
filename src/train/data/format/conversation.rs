//! `messages` or `conversations`, with what stands beside them: `system`, `tools`, `documents` and
//! `chat_template_kwargs`.

use serde_json::{Map, Value};

use super::message;
use crate::train::data::content::{Content, Conversation, Turn};
use crate::train::data::data_row::DataRow;
use crate::train::data::error::DataError;

pub(super) fn read(record: DataRow<'_>, key: &str) -> Result<Content, DataError> {
    let mut conversation = Conversation { turns: turns(record, key)?, variables: variables(record)? };
    // Some sets keep the system message beside the turns.
    for key in ["system", "system_prompt"] {
        let system = record.text_or_empty(key)?;
        match conversation.turns.first().filter(|first| first.is_system()) {
            _ if system.is_empty() => {}
            None => conversation.turns.insert(0, Turn::new("system", system)),
            Some(first) if first.content() == Some(system) => {}
            Some(_) => {
                let reason = "the conversation has another system message";
                return Err(record.refuse(key, reason, "keep one of them"));
            }
        }
    }
    Ok(Content::Chat(conversation))
}

/// The turns that a key lists.
pub(super) fn turns(record: DataRow<'_>, key: &str) -> Result<Vec<Turn>, DataError> {
    let list = record.list(key)?.iter().enumerate();
    list.map(|(place, value)| message::read(record.entry(key, place, value)?)).collect()
}

/// Variables for the chat template beside the messages.
pub(super) fn variables(record: DataRow<'_>) -> Result<Map<String, Value>, DataError> {
    let mut variables = message::arguments(record, "chat_template_kwargs")?.cloned().unwrap_or_else(Map::new);
    for key in ["functions", "tools"] {
        if let Some(tools) = message::tools(record, key)? {
            variables.insert("tools".to_owned(), tools);
        }
    }
    if let Some(documents) = record.filled("documents") {
        variables.insert("documents".to_owned(), documents.clone());
    }
    Ok(variables)
}
