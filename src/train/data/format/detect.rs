//! Format of a file by its keys, and names of formats.

use super::refused;
use crate::train::data::data_row::DataRow;
use crate::train::data::error::DataError;
use crate::train::recipe::DataFormat;

/// Columns that mark a text as something to be classified or asked about.
const LABELS: &[&str] = &["label", "labels", "answer", "target", "gold"];

/// The format of a file by the keys of its first row.
///
/// # Errors
/// Keys of no known format, and labelled texts, which are a task's data.
pub(in crate::train::data) fn detect(first: DataRow<'_>) -> Result<DataFormat, DataError> {
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
pub(in crate::train::data) fn name(format: DataFormat) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn with<T>(row: &Value, use_it: impl Fn(DataRow<'_>) -> T) -> T {
        use_it(DataRow { origin: "x.jsonl", row: 3, fields: row.as_object().unwrap() })
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
}
