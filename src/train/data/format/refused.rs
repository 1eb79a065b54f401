//! Keys of a row that would change what is learnt, and that its format does not follow. Keys of
//! book-keeping (`id`, `source`, `score`) pass.

use serde_json::Value;

use super::message::{LEAVE_OUT, MEDIA, NO_MEDIA};
use crate::train::data::data_row::DataRow;
use crate::train::data::error::DataError;
use crate::train::recipe::DataFormat;

pub(super) const PREFERENCE: &str = "the row is one of preferences, and only supervised fine-tuning is done here";
pub(super) const BY_FORMAT: &str = "keep what is to be learnt under the keys of a known format; a data set that names its `format` is \
     read by that format's keys alone";
const UNDESIRED: &str = "it marks answers that are not to be learnt, and only supervised fine-tuning is done here";
const DESIRED: &str = "keep the rows whose answers are to be learnt, without the key";

/// Refuses a row; `detected` is whether its format was found by its keys rather than named.
pub(super) fn check(format: DataFormat, record: DataRow<'_>, detected: bool) -> Result<(), DataError> {
    let answers = matches!(
        format,
        DataFormat::Messages | DataFormat::ShareGpt | DataFormat::PromptCompletion | DataFormat::Alpaca
    );
    for (key, value) in record.fields.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_str() {
            "kto_tag" if answers => return Err(record.refuse(key, UNDESIRED, DESIRED)),
            "label" if answers && (is_flag(value) || (detected && is_binary(value))) => {
                return Err(record.refuse(key, UNDESIRED, DESIRED));
            }
            _ if answers && detected && (key.starts_with("rejected") || key.starts_with("chosen")) => {
                return Err(record.refuse(key, PREFERENCE, BY_FORMAT));
            }
            "weight" | "sample_weight" | "loss_weight" | "train" | "trainable"
                if (value.is_boolean() || value.is_number())
                    && value.as_f64() != Some(1.0)
                    && *value != Value::Bool(true) =>
            {
                let cure = "set `weight` on the data set, or leave the rows out; rename the key if it means \
                     something else";
                return Err(record.refuse(key, "all rows of a data set weigh the same", cure));
            }
            "loss_mask" | "completion_mask" | "assistant_masks"
                if value.is_array() && format != DataFormat::Tokenised =>
            {
                return Err(record.refuse(key, "it goes with `input_ids`", "give the row as `input_ids` and `labels`"));
            }
            _ if answers && MEDIA.contains(&key.as_str()) && record.filled(key).is_some() => {
                return Err(record.refuse(key, NO_MEDIA, LEAVE_OUT));
            }
            _ => {}
        }
    }
    if format == DataFormat::Alpaca {
        let keys = ["system_prompt", "tools", "functions"];
        if let Some(key) = keys.into_iter().find(|key| record.filled(key).is_some()) {
            return Err(record.refuse(key, "an instruction has no place for it", "give the row as `messages`"));
        }
    }
    Ok(())
}

/// True or false, also as CSV files have it.
fn is_flag(value: &Value) -> bool {
    let text = value.as_str().map(str::to_ascii_lowercase);
    value.is_boolean() || matches!(text.as_deref(), Some("true" | "false"))
}

fn is_binary(value: &Value) -> bool {
    matches!(value.as_f64(), Some(0.0 | 1.0))
}
