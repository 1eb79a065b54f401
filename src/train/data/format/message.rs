//! One message of a conversation, in the words of `OpenAI`, `ShareGPT`, axolotl or `LLaMA-Factory`.
//!
//! `role` or `from`, `content` or `value`. `weight` (0 or 1), `train`, `training`, `trainable` and `loss` say
//! whether an answer carries loss. All other keys go to the chat template, which has to show those that are
//! part of what is said (see `chat.rs`); keys of book-keeping it may leave out.

use serde_json::{Map, Value, json};

use crate::train::data::content::Turn;
use crate::train::data::data_row::DataRow;
use crate::train::data::error::DataError;
use crate::train::recipe::SPEAKERS;

/// A message that calls a function in its text.
const CALL: &str = "function_call";

/// Keys that say whether a message carries loss.
const FLAGS: &[&str] = &["weight", "train", "training", "trainable", "loss"];

/// Keys that say it in ways that are not followed.
const MASKS: &[&str] = &["mask", "masked", "loss_mask", "loss_weight", "loss_scale", "train_detail", "training_detail"];

/// Keys of what is no text.
pub(super) const MEDIA: &[&str] = &["image", "images", "video", "videos", "audio", "audios", "input_audio"];

pub(super) const NO_MEDIA: &str = "only text is learnt";
pub(super) const LEAVE_OUT: &str = "leave the row or the key out";

/// Reads a message.
pub(super) fn read(entry: DataRow<'_>) -> Result<Turn, DataError> {
    let speaker_key =
        if entry.optional("role").is_none() && entry.optional("from").is_some() { "from" } else { "role" };
    let content_key =
        if !entry.fields.contains_key("content") && entry.fields.contains_key("value") { "value" } else { "content" };
    let speaker = entry.text(speaker_key)?;
    let role = match SPEAKERS.iter().find(|(name, _)| *name == speaker) {
        Some((_, role)) => *role,
        // Templates know roles of their own.
        None if speaker_key == "role" => speaker,
        None => {
            let known = SPEAKERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(entry.fault("from", format!("`{speaker}` is no known speaker; known are {known}")));
        }
    };
    if let Some(key) = MEDIA.iter().find(|key| entry.filled(key).is_some()) {
        return Err(entry.refuse(key, NO_MEDIA, LEAVE_OUT));
    }
    if let Some(key) = MASKS.iter().find(|key| entry.filled(key).is_some()) {
        return Err(entry.refuse(
            key,
            "whole turns carry loss or not",
            "mark turns with `weight: 0` or `train: false`",
        ));
    }
    let mut turn = Turn::new(if role == "function" { "tool" } else { role }, "");
    turn.silenced = silenced(entry, role)?;
    turn.trained &= turn.silenced.is_none();
    let known = |key: &str| [speaker_key, content_key, CALL].contains(&key) || FLAGS.contains(&key);
    for key in entry.fields.keys().filter(|key| !known(key)) {
        if let Some(value) = entry.filled(key) {
            turn.message.insert(key.clone(), value.clone());
        }
    }
    if speaker == CALL {
        turn.message.insert("tool_calls".to_owned(), calls(entry, content_key)?);
        turn.set_content(Value::Null);
        return Ok(turn);
    }
    // The form that OpenAI had before `tool_calls`.
    if let Some(call) = entry.filled(CALL) {
        turn.message.insert("tool_calls".to_owned(), json!([{"type": "function", "function": call}]));
    }
    let calls = turn.message.contains_key("tool_calls");
    match entry.fields.get(content_key) {
        None | Some(Value::Null) if calls => turn.set_content(Value::Null),
        Some(Value::Array(parts)) => turn.set_content(joined(entry, content_key, parts)?),
        _ => turn.set_content(entry.text(content_key)?),
    }
    Ok(turn)
}

/// The key that takes the loss off a message of the assistant.
fn silenced(entry: DataRow<'_>, role: &str) -> Result<Option<String>, DataError> {
    let mut silenced = None;
    for key in FLAGS {
        let Some(value) = entry.optional(key) else { continue };
        let flag = match (value, value.as_f64()) {
            (Value::Bool(flag), _) => *flag,
            (_, Some(0.0)) => false,
            (_, Some(1.0)) => true,
            _ => return Err(entry.fault(key, format!("{value} is neither 0 (no loss) nor 1"))),
        };
        if flag && role != "assistant" {
            let reason = "only the assistant's turns carry loss";
            return Err(entry.refuse(key, reason, "leave the key out of messages of others than the assistant"));
        }
        if !flag && role == "assistant" {
            silenced = Some((*key).to_owned());
        }
    }
    Ok(silenced)
}

/// The text of parts that are all texts.
fn joined(entry: DataRow<'_>, key: &str, parts: &[Value]) -> Result<String, DataError> {
    let texts = parts.iter().enumerate().map(|(place, part)| {
        let part = entry.entry(key, place, part)?;
        match part.optional("type").map(Value::as_str) {
            None | Some(Some("text" | "input_text" | "output_text")) => part.text("text").map(str::to_owned),
            Some(other) => {
                // A type that is no text is quoted as none.
                let other = other.unwrap_or("");
                Err(entry.fault(key, format!("a part of type `{other}`, where only text is learnt")))
            }
        }
    });
    texts.collect()
}

/// Calls that `LLaMA-Factory` writes as the text of a message: `{"name": ..., "arguments": ...}`, or a list of
/// them.
fn calls(entry: DataRow<'_>, key: &str) -> Result<Value, DataError> {
    let text = entry.text(key)?;
    let list = match serde_json::from_str(text) {
        Ok(Value::Array(list)) => list,
        Ok(call) => vec![call],
        Err(error) => return Err(entry.fault(key, format!("a function call is JSON: {error}"))),
    };
    let call = |call: Value| {
        let named = call.get("name").is_some_and(Value::is_string) && call.get("arguments").is_some();
        if named && call.is_object() {
            Ok(json!({"type": "function", "function": call}))
        } else {
            Err(entry.fault(key, "a function call has a `name` and `arguments`".to_owned()))
        }
    };
    list.into_iter().map(call).collect()
}

/// Tools as `OpenAI` describes them, from a list or the text of one; a bare function is wrapped.
pub(super) fn tools(record: DataRow<'_>, key: &str) -> Result<Option<Value>, DataError> {
    let Some(value) = record.filled(key) else { return Ok(None) };
    let parsed;
    let list = match value {
        Value::String(text) => {
            parsed = serde_json::from_str::<Value>(text)
                .map_err(|error| record.fault(key, format!("a text that is no JSON list: {error}")))?;
            parsed.as_array()
        }
        other => other.as_array(),
    };
    let Some(list) = list else { return Err(record.wrong(key, value, "a list of tools")) };
    let wrapped = |tool: &Value| match tool {
        Value::Object(fields) if !fields.contains_key("function") && !fields.contains_key("type") => {
            json!({"type": "function", "function": tool})
        }
        other => other.clone(),
    };
    let tools: Vec<Value> = list.iter().map(wrapped).collect();
    Ok((!tools.is_empty()).then(|| tools.into()))
}

/// An object whose entries the template is given by name.
pub(super) fn arguments<'a>(record: DataRow<'a>, key: &str) -> Result<Option<&'a Map<String, Value>>, DataError> {
    match record.optional(key) {
        None => Ok(None),
        Some(Value::Object(fields)) => Ok(Some(fields)),
        Some(other) => Err(record.wrong(key, other, "an object")),
    }
}
