//! `prompt` and `completion`: two texts, or two lists of messages.

use super::conversation::{turns, variables};
use crate::train::data::content::{Closing, Content, Conversation};
use crate::train::data::data_row::DataRow;
use crate::train::data::error::DataError;

/// Keys that only conversations have a place for.
const OF_CONVERSATIONS: &[&str] =
    &["system", "system_prompt", "history", "tools", "functions", "documents", "chat_template_kwargs"];

pub(super) fn read(record: DataRow<'_>) -> Result<Content, DataError> {
    if record.required("prompt")?.is_array() {
        let mut messages = turns(record, "prompt")?;
        let answers_from = messages.len();
        messages.extend(turns(record, "completion")?);
        let mut conversation = Conversation { turns: messages, variables: variables(record)? };
        conversation.train_from(answers_from);
        if let Some(key) = ["system", "system_prompt"].into_iter().find(|key| record.filled(key).is_some()) {
            return Err(record.refuse(key, "`prompt` lists the messages", "put it into `prompt` as its first message"));
        }
        return Ok(Content::Chat(conversation));
    }
    if let Some(key) = OF_CONVERSATIONS.iter().find(|key| record.filled(key).is_some()) {
        let cure = "write it into `prompt`, or give the row as `messages`";
        return Err(record.refuse(key, "a plain prompt has no place for it", cure));
    }
    let (prompt, completion) = (record.text("prompt")?.to_owned(), record.text("completion")?.to_owned());
    Ok(Content::Pair { prompt, completion, closing: Closing::Eos, scored: false })
}
