//! Whether a chat template shows all that a conversation says, found by rendering it without each part.

use std::borrow::Cow;

use serde_json::Value;

use super::chat::Chat;
use super::content::{Conversation, Turn};
use super::encode::Place;
use super::error::DataError;
use crate::python::repr::is_space;

/// Keys of a message that are part of what is said.
const SAID: &[&str] = &["tool_calls", "reasoning_content", "reasoning", "thinking", "thought", "refusal"];

/// Those of them that templates show in some turns and leave out of earlier ones on purpose.
const THOUGHTS: &[&str] = &["reasoning_content", "reasoning", "thinking", "thought"];

/// Variables that are part of what is said.
const BESIDE: &[&str] = &["tools", "documents"];

/// Bytes of a text that does not stand in a template or in another message by chance.
const CERTAIN: usize = 24;

/// Refuses a conversation of which something would be missing in the text.
pub(super) fn check(chat: &Chat, conversation: &Conversation, whole: &str, place: Place<'_>) -> Result<(), DataError> {
    let count = conversation.turns.len();
    // A template that refuses a conversation without the part does read it.
    let same = |changed: &Conversation| chat.render(changed, count, false).is_ok_and(|text| text == whole);
    let missing = |key: &str, turn: Option<usize>| DataError::NotShown {
        origin: place.origin.to_owned(),
        row: place.row,
        key: key.to_owned(),
        turn,
    };
    for key in BESIDE.iter().filter(|key| conversation.variables.contains_key(**key)) {
        let mut changed = conversation.clone();
        changed.variables.shift_remove(*key);
        if same(&changed) {
            return Err(missing(key, None));
        }
    }
    let mut read = 0;
    for (number, turn) in conversation.turns.iter().enumerate() {
        for key in SAID.iter().filter(|key| turn.message.contains_key(**key)) {
            let by_design = THOUGHTS.contains(key) && names(chat.template().source(), key);
            let mut changed = conversation.clone();
            if let Some(turn) = changed.turns.get_mut(number) {
                turn.message.shift_remove(*key);
            }
            if !by_design && same(&changed) {
                return Err(missing(key, Some(number + 1)));
            }
        }
        let content = turn.content().unwrap_or("").trim_matches(is_space);
        // A long text in its place needs no trial; a short one may stand there by chance.
        let place_of = whole.get(read..).and_then(|rest| rest.find(content)).filter(|_| content.len() >= CERTAIN);
        if let Some(found) = place_of {
            read += found + content.len();
        }
        if content.is_empty() || place_of.is_some() {
            continue;
        }
        let mut changed = conversation.clone();
        if let Some(turn) = changed.turns.get_mut(number) {
            turn.set_content(if content == "0" { "1" } else { "0" });
        }
        if same(&changed) {
            let (origin, row, role) = (place.origin.to_owned(), place.row, turn.role().to_owned());
            return Err(DataError::TurnLost { origin, row, turn: number + 1, role });
        }
    }
    Ok(())
}

/// Whether a template names a variable.
fn names(template: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    template.match_indices(word).any(|(start, _)| {
        let before = template.get(..start).and_then(|text| text.chars().next_back());
        let after = template.get(start + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// The conversation with null contents and the arguments of calls in the form that the template wants.
///
/// - A null content stays null where the template branches on it (`content is none`), and is an empty text
///   where it would be printed as `None`.
/// - Arguments that are the text of an object, as `OpenAI`'s interface sends them, become that object where
///   the template would write them as JSON a second time.
pub(super) fn as_the_template_reads_it<'a>(chat: &Chat, conversation: &'a Conversation) -> Cow<'a, Conversation> {
    let mut found = Cow::Borrowed(conversation);
    let render = |conversation: &Conversation| chat.render(conversation, conversation.turns.len(), false);
    if conversation.turns.iter().any(has_text_arguments) {
        let objects = with_object_arguments(&found);
        let escaped =
            conversation.turns.iter().flat_map(text_arguments).filter_map(|text| serde_json::to_string(text).ok());
        let twice = match render(&found) {
            Ok(text) => escaped.into_iter().any(|escaped| text.contains(&escaped)),
            Err(_) => true,
        };
        if twice && render(&objects).is_ok() {
            found = Cow::Owned(objects);
        }
    }
    if conversation.turns.iter().any(|turn| turn.content().is_none()) {
        let mut empty = found.clone().into_owned();
        for turn in empty.turns.iter_mut().filter(|turn| turn.content().is_none()) {
            turn.set_content("");
        }
        let printed = match (render(&found), render(&empty)) {
            (Ok(null), Ok(empty)) => null.matches("None").count() > empty.matches("None").count(),
            (Err(_), Ok(_)) => true,
            _ => false,
        };
        if printed {
            found = Cow::Owned(empty);
        }
    }
    found
}

fn calls(turn: &Turn) -> impl Iterator<Item = &Value> {
    turn.message.get("tool_calls").and_then(Value::as_array).into_iter().flatten()
}

fn arguments(call: &Value) -> Option<&str> {
    call.get("function").unwrap_or(call).get("arguments")?.as_str()
}

/// Arguments that are the text of a JSON object.
fn text_arguments(turn: &Turn) -> impl Iterator<Item = &str> {
    calls(turn).filter_map(arguments).filter(|text| object(text).is_some())
}

fn has_text_arguments(turn: &Turn) -> bool {
    text_arguments(turn).next().is_some()
}

fn object(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(Value::is_object)
}

fn with_object_arguments(conversation: &Conversation) -> Conversation {
    let mut changed = conversation.clone();
    for turn in &mut changed.turns {
        let calls = turn.message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            let function = if call.get("function").is_some() { call.get_mut("function") } else { Some(call) };
            let arguments = function.and_then(|function| function.get_mut("arguments"));
            if let Some(arguments) = arguments
                && let Some(object) = arguments.as_str().and_then(object)
            {
                *arguments = object;
            }
        }
    }
    changed
}
