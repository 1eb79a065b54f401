//! `instruction`, `input`, `output`, and perhaps `system` and `history`.
//!
//! Asked as a chat, the instruction is the user's message, the input below it after a blank line.
//! Without a chat template it is framed in headings, under our own words for the usual opening (or
//! the row's `system`):
//!
//! ```text
//! Below is a task. Write an answer that does what it asks.
//!
//! ### Instruction:
//! {instruction}
//!
//! ### Input:
//! {input}
//!
//! ### Response:
//! {output}<EOS>
//! ```
//!
//! The input's part is left out where there is no input. The pairs of `history` come before, as
//! rounds that are read but not trained on.

use serde_json::Value;

use crate::train::data::content::{Closing, Content, Conversation, Turn};
use crate::train::data::data_row::DataRow;
use crate::train::data::error::DataError;

const OPENING: &str = "Below is a task. Write an answer that does what it asks.";

pub(super) fn read(record: DataRow<'_>, chat: bool) -> Result<Content, DataError> {
    let (instruction, output) = (record.text("instruction")?, record.text("output")?);
    let (input, system) = (record.text_or_empty("input")?, record.text_or_empty("system")?);
    let history = history(record)?;
    if !chat {
        let mut prompt = format!("{}\n\n", if system.is_empty() { OPENING } else { system });
        for (question, answer) in &history {
            prompt.push_str(&framed(question, ""));
            prompt.push_str(answer);
            prompt.push_str("\n\n");
        }
        prompt.push_str(&framed(instruction, input));
        let completion = output.to_owned();
        return Ok(Content::Pair { prompt, completion, closing: Closing::Eos, scored: false });
    }
    let mut turns = Vec::new();
    if !system.is_empty() {
        turns.push(Turn::new("system", system));
    }
    for (question, answer) in history {
        turns.extend([Turn::new("user", question), Turn::new("assistant", answer)]);
    }
    let asked = if input.is_empty() { instruction.to_owned() } else { format!("{instruction}\n\n{input}") };
    turns.push(Turn::new("user", asked));
    let answers_from = turns.len();
    turns.push(Turn::new("assistant", output));
    let mut conversation = Conversation::of(turns);
    conversation.train_from(answers_from);
    Ok(Content::Chat(conversation))
}

fn framed(instruction: &str, input: &str) -> String {
    let input = if input.is_empty() { String::new() } else { format!("### Input:\n{input}\n\n") };
    format!("### Instruction:\n{instruction}\n\n{input}### Response:\n")
}

/// Pairs of question and answer.
fn history(record: DataRow<'_>) -> Result<Vec<(String, String)>, DataError> {
    if record.optional("history").is_none() {
        return Ok(Vec::new());
    }
    let pair = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([Value::String(question), Value::String(answer)]) => Ok((question.clone(), answer.clone())),
        _ => Err(record.wrong("history", value, "a list of pairs of question and answer")),
    };
    record.list("history")?.iter().map(pair).collect()
}
