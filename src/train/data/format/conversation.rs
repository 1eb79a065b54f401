//! `messages` of `role` and `content`, and `ShareGPT`'s `conversations` of `from` and `value`.

use serde_json::Value;

use crate::tokenizer::Message;
use crate::train::data::content::Content;
use crate::train::data::error::DataError;
use crate::train::data::record::Record;

/// `ShareGPT`'s speakers by role.
const SPEAKERS: &[(&str, &str)] = &[
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("assistant", "assistant"),
    ("chatgpt", "assistant"),
    ("model", "assistant"),
    ("bot", "assistant"),
    ("system", "system"),
];

pub(super) fn messages(record: Record<'_>) -> Result<Content, DataError> {
    let messages = turns(record, "messages")?;
    Ok(Content::Chat { messages, trained_from: 0 })
}

/// The turns that a key lists.
pub(super) fn turns(record: Record<'_>, key: &str) -> Result<Vec<Message>, DataError> {
    let list = record.list(key)?.iter().enumerate();
    list.map(|(place, value)| {
        let entry = record.entry(key, place, value)?;
        Ok(Message::new(entry.text("role")?, content(entry)?))
    })
    .collect()
}

/// A text, or a list of parts that are all texts.
fn content(entry: Record<'_>) -> Result<String, DataError> {
    let value = entry.required("content")?;
    let Value::Array(parts) = value else { return entry.text("content").map(str::to_owned) };
    let texts = parts.iter().enumerate().map(|(place, part)| {
        let part = entry.entry("content", place, part)?;
        match part.text("type")? {
            "text" => part.text("text").map(str::to_owned),
            other => Err(entry.fault("content", format!("a part of type `{other}`, where only text is learnt"))),
        }
    });
    texts.collect()
}

pub(super) fn sharegpt(record: Record<'_>) -> Result<Content, DataError> {
    let mut messages = Vec::new();
    for (place, value) in record.list("conversations")?.iter().enumerate() {
        let entry = record.entry("conversations", place, value)?;
        let from = entry.text("from")?;
        let Some((_, role)) = SPEAKERS.iter().find(|(name, _)| *name == from) else {
            let known = SPEAKERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(entry.fault("from", format!("`{from}` is no known speaker; known are {known}")));
        };
        messages.push(Message::new(*role, entry.text("value")?));
    }
    // Some sets keep the system message beside the turns.
    let system = record.text_or_empty("system")?;
    if !system.is_empty() && messages.first().is_none_or(|first| first.role != "system") {
        messages.insert(0, Message::new("system", system));
    }
    Ok(Content::Chat { messages, trained_from: 0 })
}
