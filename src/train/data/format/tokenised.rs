//! `input_ids`, and `labels` where -100 carries no loss.
//!
//! Labels are those of Transformers: the token itself at its own place, shifted by the loss. Without
//! `labels` every token carries loss. Places where `attention_mask` is 0 are padding and left out.

use serde_json::Value;

use crate::train::data::content::Content;
use crate::train::data::error::DataError;
use crate::train::data::record::Record;

const NO_LOSS: i64 = -100;

pub(super) fn read(record: Record<'_>) -> Result<Content, DataError> {
    let ids = numbers(record, "input_ids")?;
    let column = |key: &str, what: &str| match record.optional(key) {
        None => Ok(None),
        Some(_) => match numbers(record, key)? {
            list if list.len() == ids.len() => Ok(Some(list)),
            list => Err(record.fault(key, format!("{} {what} for {} tokens", list.len(), ids.len()))),
        },
    };
    let (labels, mask) = (column("labels", "labels")?, column("attention_mask", "places")?);
    let (mut tokens, mut trained) = (Vec::new(), Vec::new());
    for (place, id) in ids.iter().enumerate() {
        let at = |list: &Option<Vec<i64>>| list.as_ref().and_then(|list| list.get(place).copied());
        if at(&mask) == Some(0) {
            continue;
        }
        let token = u32::try_from(*id).map_err(|_| record.fault("input_ids", format!("{id} is no token id")))?;
        let label = at(&labels).unwrap_or(*id);
        if label != NO_LOSS && label != *id {
            return Err(record.fault("labels", format!("label {label} stands where token {id} does")));
        }
        tokens.push(token);
        trained.push(label != NO_LOSS);
    }
    if let Some(first) = trained.first_mut() {
        *first = false;
    }
    Ok(Content::Tokens { tokens, trained })
}

fn numbers(record: Record<'_>, key: &str) -> Result<Vec<i64>, DataError> {
    let number = |value: &Value| value.as_i64().ok_or_else(|| record.wrong(key, value, "a list of whole numbers"));
    record.list(key)?.iter().map(number).collect()
}
