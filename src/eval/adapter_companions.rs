//! Tokenizers and chat templates that were saved with an adapter.

use std::path::Path;

use serde_json::Value;

use crate::event::Progress;

/// Warns of an adapter's tokenizer or chat template that is not the model's: the model's is used.
pub(super) fn warn_of_differences(adapter: &Path, model: &Path, progress: Progress<'_>) {
    let mut differing = Vec::new();
    let vocabulary = |folder: &Path| {
        let tokenizer = json(&folder.join("tokenizer.json"))?;
        Some([tokenizer.pointer("/model/vocab").cloned(), tokenizer.get("added_tokens").cloned()])
    };
    if let Some(own) = vocabulary(adapter)
        && vocabulary(model) != Some(own)
    {
        differing.push("tokenizer");
    }
    if let Some(own) = template(adapter)
        && template(model) != Some(own)
    {
        differing.push("chat template");
    }
    if !differing.is_empty() {
        let (what, adapter, model) = (differing.join(" and "), adapter.display(), model.display());
        progress.warn(format!(
            "{adapter} has a {what} of its own; that of {model} is used here (`billon adapter bake` writes a model with \
             the adapter's)"
        ));
    }
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&crate::storage::input::read(path, crate::storage::input::SETTINGS_BYTES).ok()?).ok()
}

/// The chat template of a folder, which loaders take from a file of its own first.
fn template(folder: &Path) -> Option<Value> {
    let file =
        crate::storage::input::read_text(&folder.join("chat_template.jinja"), crate::storage::input::SETTINGS_BYTES)
            .ok()
            .map(Value::String);
    file.or_else(|| json(&folder.join("tokenizer_config.json"))?.get("chat_template").filter(|t| !t.is_null()).cloned())
}
