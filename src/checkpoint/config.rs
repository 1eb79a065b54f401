//! `config.json`: reading it, and changing single values while every other byte stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_json::value::RawValue;

/// Keys under which families keep their number of decoder layers.
pub(crate) const LAYER_COUNT_KEYS: [&str; 5] =
    ["num_hidden_layers", "n_layer", "num_layers", "n_layers", "num_decoder_layers"];

/// Keys for the decoder's layers in models that have an encoder too.
const DECODER_LAYER_KEYS: [&str; 2] = ["num_decoder_layers", "decoder_layers"];

/// A model's `config.json`, as text and as values.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    path: PathBuf,
    text: String,
    value: Value,
}

impl ModelConfig {
    /// Parses the text of a config.
    ///
    /// # Errors
    /// The JSON error; a config that is not an object is one too.
    pub fn parse(path: &Path, text: String) -> Result<Self, serde_json::Error> {
        let value: serde_json::Map<String, Value> = serde_json::from_str(&text)?;
        Ok(Self { path: path.into(), text, value: Value::Object(value) })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole object.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The object that describes the text decoder: `text_config` of multimodal models, else all.
    #[must_use]
    pub fn decoder(&self) -> &Value {
        self.value.get("text_config").filter(|v| v.is_object()).unwrap_or(&self.value)
    }

    /// A string at the top level.
    #[must_use]
    pub fn string(&self, key: &str) -> Option<&str> {
        self.value.get(key).and_then(Value::as_str)
    }

    /// The first entry of `architectures`.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        self.value.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str)
    }

    /// Whether the model has an encoder besides its decoder.
    #[must_use]
    pub fn is_encoder_decoder(&self) -> bool {
        let says = self.value.get("is_encoder_decoder").and_then(Value::as_bool);
        says.unwrap_or_else(|| DECODER_LAYER_KEYS.iter().any(|key| self.value.get(key).is_some()))
    }

    /// Number of decoder layers, under whichever key the family uses.
    #[must_use]
    pub fn layer_count(&self) -> Option<u64> {
        let own: &[&str] = if self.is_encoder_decoder() { &DECODER_LAYER_KEYS } else { &[] };
        own.iter().chain(&LAYER_COUNT_KEYS).find_map(|key| self.decoder().get(key).and_then(Value::as_u64))
    }

    /// `tie_word_embeddings`, at the top or in the decoder's part.
    #[must_use]
    pub fn ties_word_embeddings(&self) -> bool {
        let key = "tie_word_embeddings";
        self.value.get(key).or_else(|| self.decoder().get(key)).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The text with some values replaced and every other byte as it was.
    ///
    /// # Errors
    /// The JSON error of a text that no longer parses, which would be a defect of this module.
    pub fn edited(&self, edit: &ConfigEdit) -> Result<String, serde_json::Error> {
        let mut changes: Vec<(usize, usize, String)> = Vec::new();
        let whole = Object::parse(&self.text, 0, &self.text)?;
        let text_config = match whole.get("text_config") {
            Some((start, raw)) if raw.starts_with('{') => Some(Object::parse(&self.text, start, raw)?),
            _ => None,
        };
        let decoder = text_config.as_ref().unwrap_or(&whole);
        if let Some(layers) = edit.layer_count {
            let layers = layers.to_string();
            if self.is_encoder_decoder() {
                // The encoder keeps its layers, and T5 takes the decoder's from the encoder's key where
                // there is none for it.
                let mut found = false;
                for key in DECODER_LAYER_KEYS {
                    found |= decoder.replace(key, &layers, &mut changes);
                }
                if !found {
                    let open = self.text.find('{').map_or(0, |at| at + 1);
                    let comma = if whole.values.is_empty() { "" } else { "," };
                    changes.push((open, open, format!("\n  \"num_decoder_layers\": {layers}{comma}")));
                }
            } else {
                for key in LAYER_COUNT_KEYS {
                    decoder.replace(key, &layers, &mut changes);
                }
            }
        }
        if let Some(vocabulary) = edit.vocab_size {
            decoder.replace("vocab_size", &vocabulary.to_string(), &mut changes);
        }
        if let Some(kept) = &edit.layer_types {
            decoder.replace("layer_types", kept, &mut changes);
        }
        if let Some(dtype) = edit.dtype {
            let quoted = format!("\"{dtype}\"");
            let mut found = false;
            for object in std::iter::once(&whole).chain(text_config.as_ref()) {
                for key in ["torch_dtype", "dtype"] {
                    found |= object.replace(key, &quoted, &mut changes);
                }
            }
            if !found {
                // transformers takes a missing dtype for float32, so the key has to appear.
                let open = self.text.find('{').map_or(0, |at| at + 1);
                let comma = if whole.values.is_empty() { "" } else { "," };
                changes.push((open, open, format!("\n  \"torch_dtype\": {quoted}{comma}")));
            }
        }
        changes.sort();
        let mut result = String::with_capacity(self.text.len() + 64);
        let mut copied = 0;
        for (start, end, replacement) in changes {
            result.push_str(&self.text[copied..start]);
            result.push_str(&replacement);
            copied = end;
        }
        result.push_str(&self.text[copied..]);
        serde_json::from_str::<Value>(&result)?;
        Ok(result)
    }
}

/// Values to change; `None` keeps the value of the config source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigEdit {
    /// Number of decoder layers.
    pub layer_count: Option<u64>,
    /// transformers' dtype name.
    pub dtype: Option<&'static str>,
    /// Vocabulary rows.
    pub vocab_size: Option<u64>,
    /// A new `layer_types` array, as JSON text.
    pub layer_types: Option<String>,
}

/// Byte spans of an object's values in the text it is part of.
struct Object<'a> {
    values: BTreeMap<String, (usize, &'a str)>,
}

impl<'a> Object<'a> {
    /// `part` is the object's text, which starts at or before its brace at byte `start` of `whole`.
    fn parse(whole: &'a str, start: usize, part: &'a str) -> Result<Self, serde_json::Error> {
        let raw: BTreeMap<String, &'a RawValue> = serde_json::from_str(part)?;
        let values = raw
            .into_iter()
            .map(|(key, value)| {
                // The raw value borrows from `part`, so its address gives its position.
                let offset = value.get().as_ptr() as usize - part.as_ptr() as usize;
                debug_assert!(start + offset + value.get().len() <= whole.len());
                (key, (start + offset, value.get()))
            })
            .collect();
        Ok(Self { values })
    }

    fn get(&self, key: &str) -> Option<(usize, &'a str)> {
        self.values.get(key).copied()
    }

    /// Notes the change of one value; says whether the key is there.
    fn replace(&self, key: &str, value: &str, changes: &mut Vec<(usize, usize, String)>) -> bool {
        let Some((start, old)) = self.get(key) else { return false };
        if old != value {
            changes.push((start, start + old.len(), value.to_owned()));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ModelConfig {
        ModelConfig::parse("config.json".as_ref(), text.to_owned()).unwrap()
    }

    #[test]
    fn edits_keep_every_other_byte() {
        let text = "{\n    \"b\" : 1e-05,\"num_hidden_layers\":  24 ,\n\t\"torch_dtype\": \"float32\", \"x\": {\"num_hidden_layers\": 3}}\n\n";
        let edit = ConfigEdit { layer_count: Some(30), dtype: Some("bfloat16"), ..Default::default() };
        let expected = text.replacen("24", "30", 1).replacen("float32", "bfloat16", 1);
        assert_eq!(config(text).edited(&edit).unwrap(), expected);
        assert_eq!(config(text).edited(&ConfigEdit::default()).unwrap(), text);
    }

    #[test]
    fn the_text_decoder_of_a_multimodal_config_is_edited() {
        let text = r#"{"text_config": {"num_hidden_layers": 2, "vocab_size": 9, "dtype": "float32"}, "vocab_size": 9}"#;
        let edit =
            ConfigEdit { layer_count: Some(5), vocab_size: Some(8), dtype: Some("float16"), ..Default::default() };
        let expected =
            r#"{"text_config": {"num_hidden_layers": 5, "vocab_size": 8, "dtype": "float16"}, "vocab_size": 9}"#;
        assert_eq!(config(text).edited(&edit).unwrap(), expected);
    }

    #[test]
    fn a_missing_dtype_is_added() {
        let edit = ConfigEdit { dtype: Some("bfloat16"), ..Default::default() };
        let edited = config("{\"a\": 1}").edited(&edit).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&edited).unwrap()["torch_dtype"], "bfloat16");
        assert!(config("{}").edited(&edit).unwrap().contains("bfloat16"));
    }
}
