//! Whether the tokenizers of the models give the same ids to the same tokens.
//!
//! The config source's tokenizer is the one that is written. Rows of embedding and head are merged by id, so an id that stands
//! for another token in another model makes a row of two tokens.

use std::path::Path;

use serde_json::Value;

use super::options::MergeOptions;
use crate::error::ErrorKind;
use crate::merge::plan::sources::Model;
use crate::recipe::{Diagnostics, Recipe};
use crate::tokenizer::Vocabulary;

/// The files that say which token an id stands for.
const VOCABULARY_FILES: &[&str] =
    &["tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "added_tokens.json"];

/// Keys of `tokenizer_config.json` that change what a model is given.
const SETTINGS: &[&str] = &["bos_token", "eos_token", "add_bos_token", "add_eos_token"];

/// Parts of tokenizer.json that are not compared: its vocabulary is by itself, the rest are states of the last call.
const UNCOMPARED: &[&str] = &["version", "truncation", "padding", "vocab"];

/// Compares every model's tokenizer with that of the config source.
pub(super) fn check(
    recipe: &Recipe,
    models: &[Model],
    donor: usize,
    options: &MergeOptions,
    diagnostics: &mut Diagnostics,
) {
    let Some(ours) = models[donor].tokenizer_dir.as_deref() else { return };
    let mut vocabulary = None;
    for (index, model) in models.iter().enumerate() {
        let Some(theirs) = model.tokenizer_dir.as_deref().filter(|theirs| index != donor && *theirs != ours) else {
            continue;
        };
        let pair = Pair { donor: models[donor].reference.to_string(), other: model.reference.to_string() };
        if !same_files(ours, theirs) {
            let ours = vocabulary.get_or_insert_with(|| Vocabulary::read(ours));
            let span = recipe.sources().find(|s| s.model.value == model.reference).map(|s| s.model.span);
            match (&*ours, &Vocabulary::read(theirs)) {
                (Ok(Some(ours)), Ok(Some(theirs))) => {
                    if let Some(message) = pair.other_tokens(ours, theirs) {
                        if options.allow_mismatch {
                            diagnostics.alert(None, message);
                        } else {
                            let help = "give the models one tokenizer first; pass --allow-mismatch to merge them all \
                                        the same";
                            diagnostics.model_error(ErrorKind::Mismatch, span, message, help);
                        }
                    }
                    pair.sizes(ours, theirs, diagnostics);
                }
                (Err(error), _) | (_, Err(error)) => {
                    let message = format!("the tokenizer files could not be compared: {error}");
                    diagnostics.alert(None, message);
                }
                _ => {}
            }
        }
        pair.parts(ours, theirs, diagnostics);
        pair.settings(ours, theirs, diagnostics);
    }
}

/// Two models by name; the first one's tokenizer is written.
struct Pair {
    donor: String,
    other: String,
}

impl Pair {
    fn other_tokens(&self, ours: &Vocabulary, theirs: &Vocabulary) -> Option<String> {
        let found = ours.compare(theirs);
        let (id, a, b) = found.other.first()?;
        Some(format!(
            "the tokenizer files disagree: id {id} is token {a:?} in `{}` and {b:?} in `{}`, and so are {} of {} ids, so \
             rows of the embeddings mean different tokens",
            self.donor,
            self.other,
            found.other.len(),
            ours.len()
        ))
    }

    fn sizes(&self, ours: &Vocabulary, theirs: &Vocabulary, diagnostics: &mut Diagnostics) {
        let found = ours.compare(theirs);
        let Self { donor, other } = self;
        for (more, less, count) in [(donor, other, found.only_first), (other, donor, found.only_second)] {
            if count > 0 {
                let message = format!(
                    "the tokenizer of `{more}` has {count} ids that `{less}` lacks; that of `{donor}` is written"
                );
                diagnostics.alert(None, message);
            }
        }
    }

    /// Everything of tokenizer.json besides the vocabulary: merges, normaliser, pre-tokeniser and the rest.
    fn parts(&self, ours: &Path, theirs: &Path, diagnostics: &mut Diagnostics) {
        let file = "tokenizer.json";
        if same_file(ours, theirs, file) {
            return;
        }
        let (Some(ours), Some(theirs)) = (object(&ours.join(file)), object(&theirs.join(file))) else { return };
        let part = |tokenizer: &Value| {
            // A tokenizer that is no object has no parts to compare; opening it says so.
            let mut parts = tokenizer.as_object().cloned().unwrap_or_else(serde_json::Map::new);
            if let Some(Value::Object(model)) = parts.remove("model") {
                parts.extend(model.into_iter().map(|(key, value)| (format!("model.{key}"), value)));
            }
            parts.retain(|key, _| !UNCOMPARED.contains(&key.rsplit('.').next().unwrap_or(key)));
            parts
        };
        let (ours, theirs) = (part(&ours), part(&theirs));
        let mut differing: Vec<&str> =
            ours.keys().chain(theirs.keys()).filter(|k| ours.get(*k) != theirs.get(*k)).map(String::as_str).collect();
        differing.sort_unstable();
        differing.dedup();
        if !differing.is_empty() {
            let Self { donor, other } = self;
            let message = format!(
                "{file} of `{donor}` and `{other}` differ in {}; that of `{donor}` is written",
                differing.join(", ")
            );
            diagnostics.alert(None, message);
        }
    }

    /// Special tokens and chat template.
    fn settings(&self, ours: &Path, theirs: &Path, diagnostics: &mut Diagnostics) {
        let Self { donor, other } = self;
        let file = "tokenizer_config.json";
        let read = |directory: &Path| object(&directory.join(file)).unwrap_or(Value::Null);
        let (a, b) = (read(ours), read(theirs));
        if a.is_object() && b.is_object() {
            for key in SETTINGS {
                let (a, b) = (token(a.get(key)), token(b.get(key)));
                if a != b {
                    let message = format!(
                        "{file}: `{key}` is {} in `{donor}` and {} in `{other}`; that of `{donor}` is written",
                        shown(a.as_ref()),
                        shown(b.as_ref())
                    );
                    diagnostics.alert(None, message);
                }
            }
        }
        let (a, b) = (template(ours, &a), template(theirs, &b));
        if a != b {
            let has = |template: &Option<String>| if template.is_some() { "one of its own" } else { "none" };
            let message = format!(
                "the chat templates of `{donor}` and `{other}` differ: `{donor}`, whose files are written, has {}, \
                 `{other}` has {}",
                has(&a),
                has(&b)
            );
            diagnostics.alert(None, message);
        }
    }
}

/// A token is a text, or an object with one.
fn token(value: Option<&Value>) -> Option<Value> {
    let value = value.filter(|value| !value.is_null() && **value != Value::Bool(false))?;
    Some(value.get("content").unwrap_or(value).clone())
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "not set".to_owned(), Value::to_string)
}

fn template(directory: &Path, config: &Value) -> Option<String> {
    let file =
        crate::storage::input::read_text(&directory.join("chat_template.jinja"), crate::storage::input::SETTINGS_BYTES)
            .ok();
    let inside = config.get("chat_template").filter(|template| !template.is_null());
    let text = |template: &Value| template.as_str().map_or_else(|| template.to_string(), str::to_owned);
    file.or_else(|| inside.map(text)).map(|text| text.trim_end().to_owned())
}

fn object(path: &Path) -> Option<Value> {
    serde_json::from_slice(&crate::storage::input::read(path, crate::storage::input::SETTINGS_BYTES).ok()?).ok()
}

fn same_file(ours: &Path, theirs: &Path, name: &str) -> bool {
    let read = |folder: &Path| crate::storage::input::read(&folder.join(name), crate::storage::input::LIST_BYTES).ok();
    read(ours) == read(theirs)
}

fn same_files(ours: &Path, theirs: &Path) -> bool {
    VOCABULARY_FILES.iter().all(|name| same_file(ours, theirs, name))
}
