//! `prompt` and `completion`: two texts, or two lists of messages.

use super::conversation::turns;
use crate::train::data::content::{Closing, Content};
use crate::train::data::error::DataError;
use crate::train::data::record::Record;

pub(super) fn read(record: Record<'_>) -> Result<Content, DataError> {
    if record.required("prompt")?.is_array() {
        let mut messages = turns(record, "prompt")?;
        let trained_from = messages.len();
        messages.extend(turns(record, "completion")?);
        return Ok(Content::Chat { messages, trained_from });
    }
    let (prompt, completion) = (record.text("prompt")?.to_owned(), record.text("completion")?.to_owned());
    Ok(Content::Pair { prompt, completion, closing: Closing::Eos })
}
