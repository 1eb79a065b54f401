//! The formats of data files: the content of a row that is to be learnt.

mod alpaca;
mod conversation;
mod message;
mod prompt_completion;
mod refused;
mod tokenised;

use super::content::Content;
use super::data_row::DataRow;
use super::error::DataError;
use crate::train::recipe::DataFormat;

/// Columns that mark a text as something to be classified or asked about.
const LABELS: &[&str] = &["label", "labels", "answer", "target", "gold"];

/// The format of a file by the keys of its first row.
///
/// # Errors
/// Keys of no known format, and labelled texts, which are a task's data.
pub(super) fn detect(first: DataRow<'_>) -> Result<DataFormat, DataError> {
    let has = |keys: &[&str]| keys.iter().all(|key| first.optional(key).is_some());
    // A value that is null is a fault of its own, reported when the row is read.
    let names = |keys: &[&str]| keys.iter().all(|key| first.fields.contains_key(*key));
    let origin = || first.origin.to_owned();
    let formats = [
        (&["input_ids"][..], DataFormat::Tokenised),
        (&["messages"], DataFormat::Messages),
        (&["conversations"], DataFormat::ShareGpt),
        (&["prompt", "completion"], DataFormat::PromptCompletion),
        (&["instruction", "output"], DataFormat::Alpaca),
    ];
    let found = formats.iter().find(|(keys, _)| has(keys));
    let found = found.or_else(|| formats.iter().find(|(keys, _)| !has(&["text"]) && names(keys)));
    if let Some((_, format)) = found {
        return Ok(*format);
    }
    if names(&["text"]) {
        return match LABELS.iter().find(|key| has(&[**key])) {
            Some(key) => Err(DataError::Labelled { origin: origin(), key: (*key).to_owned() }),
            None => Ok(DataFormat::Text),
        };
    }
    if names(&["chosen", "rejected"]) {
        return Err(first.refuse("rejected", refused::PREFERENCE, refused::BY_FORMAT));
    }
    Err(DataError::UnknownFormat { origin: origin(), keys: first.fields.keys().cloned().collect() })
}

/// The name of a format in recipes.
pub(super) fn name(format: DataFormat) -> &'static str {
    match format {
        DataFormat::Auto => "auto",
        DataFormat::Task => "task",
        DataFormat::Messages => "messages",
        DataFormat::PromptCompletion => "prompt_completion",
        DataFormat::Alpaca => "alpaca",
        DataFormat::ShareGpt => "sharegpt",
        DataFormat::Text => "text",
        DataFormat::Tokenised => "tokenised",
    }
}

/// Options of reading the rows of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub format: DataFormat,
    /// Whether the format was found by the keys of the first row.
    pub detected: bool,
    /// Whether instructions are asked as conversations.
    pub chat: bool,
}

/// Reads the content of a row of a known format.
pub(super) fn read(reading: Reading, record: DataRow<'_>) -> Result<Content, DataError> {
    refused::check(reading.format, record, reading.detected)?;
    match reading.format {
        // Some sets call theirs by the other name.
        DataFormat::Messages if record.optional("messages").is_none() && record.optional("conversations").is_some() => {
            conversation::read(record, "conversations")
        }
        DataFormat::ShareGpt if record.optional("conversations").is_none() && record.optional("messages").is_some() => {
            conversation::read(record, "messages")
        }
        DataFormat::Messages => conversation::read(record, "messages"),
        DataFormat::ShareGpt => conversation::read(record, "conversations"),
        DataFormat::PromptCompletion => prompt_completion::read(record),
        DataFormat::Alpaca => alpaca::read(record, reading.chat),
        DataFormat::Tokenised => tokenised::read(record),
        // Tasks and unknown formats were recognised before.
        DataFormat::Text | DataFormat::Auto | DataFormat::Task => Ok(Content::Text(record.text("text")?.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::content::{Conversation, Turn};
    use serde_json::{Value, json};

    fn with<T>(row: &Value, use_it: impl Fn(DataRow<'_>) -> T) -> T {
        use_it(DataRow { origin: "x.jsonl", row: 3, fields: row.as_object().unwrap() })
    }

    fn named(format: DataFormat, chat: bool) -> Reading {
        Reading { format, detected: false, chat }
    }

    #[test]
    fn a_format_is_known_by_its_keys() {
        for (row, format) in [
            (json!({"messages": []}), DataFormat::Messages),
            (json!({"conversations": [], "id": 1}), DataFormat::ShareGpt),
            (json!({"prompt": "a", "completion": "b", "text": "ab"}), DataFormat::PromptCompletion),
            (json!({"instruction": "a", "input": null, "output": "b"}), DataFormat::Alpaca),
            (json!({"input_ids": [1], "labels": [1]}), DataFormat::Tokenised),
            (json!({"text": "a", "id": 3}), DataFormat::Text),
        ] {
            assert_eq!(with(&row, detect).unwrap(), format, "{row}");
        }
        let error = with(&json!({"text": "a", "label": "b"}), detect).unwrap_err();
        assert!(error.to_string().contains("`text` and a `label`"), "{error}");
        let error = with(&json!({"question": "a", "reply": "b"}), detect).unwrap_err();
        assert!(error.to_string().contains("`question`, `reply`"), "{error}");
    }

    #[test]
    fn faults_name_row_file_and_key() {
        for (format, row, expected) in [
            (DataFormat::Alpaca, json!({"instruction": "a"}), "row 3 of x.jsonl lacks `output`; it has `instruction`"),
            (DataFormat::PromptCompletion, json!({"prompt": "a", "completion": 3}), "`completion` is a number"),
            (DataFormat::PromptCompletion, json!({"prompt": "a", "completion": []}), "`completion` is a list"),
            (DataFormat::Messages, json!({"messages": "a"}), "`messages` is a text, where a list is wanted"),
            (DataFormat::Messages, json!({"messages": [{"role": "user"}]}), "lacks `content`; it has `role`"),
            (DataFormat::Messages, json!({"messages": [7]}), "`messages[0]` is a number, where an object"),
            (DataFormat::ShareGpt, json!({"conversations": [{"from": "bird", "value": ""}]}), "`bird`"),
            (DataFormat::Tokenised, json!({"input_ids": [1, 2], "labels": [1]}), "1 labels for 2 tokens"),
            (DataFormat::Tokenised, json!({"input_ids": [1, -2]}), "-2 is no token id"),
            (DataFormat::Tokenised, json!({"input_ids": [1, 2], "labels": [-100, 3]}), "label 3 stands where token 2"),
            (DataFormat::Text, json!({"txt": "a"}), "lacks `text`"),
        ] {
            let error = with(&row, |record| read(named(format, false), record)).unwrap_err().to_string();
            assert!(error.contains("row 3 of x.jsonl") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn rows_are_read_as_the_content_to_learn() {
        let content = |format, row: Value, chat| with(&row, |record| read(named(format, chat), record)).unwrap();
        let turns = vec![Turn::new("system", "S"), Turn::new("user", "U"), Turn::new("assistant", "A")];
        let row = json!({"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "U"},
            {"from": "gpt", "value": "A"}]});
        let conversation = Content::Chat(Conversation::of(turns));
        assert_eq!(content(DataFormat::ShareGpt, row, false), conversation);
        let row = json!({"prompt": [{"role": "system", "content": "S"}, {"role": "user",
            "content": [{"type": "text", "text": "U"}]}], "completion": [{"role": "assistant", "content": "A"}]});
        assert_eq!(content(DataFormat::PromptCompletion, row, false), conversation);
        let row = json!({"instruction": "I", "input": "N", "output": "O", "history": [["q", "r"]], "system": "S"});
        let Content::Chat(Conversation { turns, .. }) = content(DataFormat::Alpaca, row.clone(), true) else {
            panic!()
        };
        assert_eq!((turns.len(), turns[3].content()), (5, Some("I\n\nN")));
        assert!(turns.iter().enumerate().all(|(place, turn)| turn.trained == (place == 4)));
        let Content::Pair { prompt, completion, .. } = content(DataFormat::Alpaca, row, false) else { panic!() };
        assert_eq!(completion, "O");
        assert!(
            prompt.starts_with("S\n\n### Instruction:\nq\n\n### Response:\nr\n\n### Instruction:\nI\n\n### Input:\nN")
        );
        let row = json!({"input_ids": [1, 2, 3, 0], "labels": [-100, 2, -100, 0], "attention_mask": [1, 1, 1, 0]});
        let expected = Content::Tokens { tokens: vec![1, 2, 3], trained: vec![false, true, false] };
        assert_eq!(content(DataFormat::Tokenised, row, false), expected);
    }
}
