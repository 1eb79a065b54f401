//! `input_ids`, and `labels` where -100 carries no loss.
//!
//! Labels are those of Transformers: the token itself at its own place, shifted by the loss. Without
//! `labels` every token carries loss. `completion_mask`, `assistant_masks` and `loss_mask` (TRL's) take it off
//! where they are 0. Places where `attention_mask` is 0 are padding and left out.

use serde_json::Value;

use crate::train::data::content::Content;
use crate::train::data::data_row::DataRow;
use crate::train::data::error::DataError;

const NO_LOSS: i64 = -100;

/// Lists of 0 and 1 that say which tokens carry loss.
const MASKS: &[&str] = &["completion_mask", "assistant_masks", "loss_mask"];

pub(super) fn read(record: DataRow<'_>) -> Result<Content, DataError> {
    let ids = numbers(record, "input_ids")?;
    let column = |key: &str, what: &str| match record.optional(key) {
        None => Ok(None),
        Some(_) => match numbers(record, key)? {
            list if list.len() == ids.len() => Ok(Some(list)),
            list => Err(record.fault(key, format!("{} {what} for {} tokens", list.len(), ids.len()))),
        },
    };
    let (labels, mask) = (column("labels", "labels")?, column("attention_mask", "places")?);
    let mut masks = Vec::new();
    for key in MASKS {
        let found = column(key, "places")?;
        if let Some(other) = found.iter().flatten().find(|flag| !matches!(flag, 0 | 1)) {
            return Err(record.fault(key, format!("{other} is neither 0 nor 1")));
        }
        masks.push(found);
    }
    rows_of_their_own(record, ids.len())?;
    let inside = |mask: &Vec<i64>| {
        let (first, last) = (mask.iter().position(|flag| *flag != 0), mask.iter().rposition(|flag| *flag != 0));
        first.zip(last).and_then(|(first, last)| mask.get(first..last)).is_some_and(|inner| inner.contains(&0))
    };
    if mask.as_ref().is_some_and(inside) {
        let reason = "it is 0 between tokens that are read, and leaving those out would join what is around them";
        return Err(record.refuse("attention_mask", reason, "only padding at an end may be masked"));
    }
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
        trained.push(label != NO_LOSS && masks.iter().all(|mask| at(mask) != Some(0)));
    }
    if let Some(first) = trained.first_mut() {
        *first = false;
    }
    Ok(Content::Tokens { tokens, trained })
}

/// Refuses rows that hold several examples, which would then see each other.
fn rows_of_their_own(record: DataRow<'_>, length: usize) -> Result<(), DataError> {
    let several = "the row holds several examples, which would see each other";
    let cure = "give each example a row; `sample_packing` puts them together";
    for key in ["seq_lengths", "cu_seqlens", "cu_seq_lens"] {
        if record.filled(key).and_then(Value::as_array).is_some_and(|list| list.len() > 1) {
            return Err(record.refuse(key, several, cure));
        }
    }
    if record.filled("position_ids").is_some() {
        let found = numbers(record, "position_ids")?;
        let first = found.first().copied().unwrap_or(0);
        if found.len() != length || !found.iter().enumerate().all(|(place, id)| *id == first + place as i64) {
            return Err(record.refuse("position_ids", several, cure));
        }
    }
    Ok(())
}

fn numbers(record: DataRow<'_>, key: &str) -> Result<Vec<i64>, DataError> {
    let number = |value: &Value| value.as_i64().ok_or_else(|| record.wrong(key, value, "a list of whole numbers"));
    record.list(key)?.iter().map(number).collect()
}
