//! Typed reading of a task's keys, which may come from several files.
//!
//! Scalars have the types that `PyYAML` gives them, as in the harness: a bare `yes` is no text, and `010` is eight.

use serde_json::Value;

use super::config::Field as DocumentField;
use super::file::{Entries, Files};
use super::template;
use crate::python::yaml_scalars::json;
use crate::yaml::{Diagnostics, Field, FromYaml, Severity};

/// Reads typed values out of a task's keys, noting what does not fit in the file that it stands in.
pub(super) struct Reader<'a> {
    entries: &'a Entries,
    pub(super) files: &'a mut Files,
}

impl<'a> Reader<'a> {
    pub(super) fn new(entries: &'a Entries, files: &'a mut Files) -> Self {
        Self { entries, files }
    }

    /// The entry of a key that has a value, and the faults of its file.
    pub(super) fn given(&mut self, key: &str) -> Option<(Field<'a>, &mut Diagnostics)> {
        let (name, entry) = self.entries.get_key_value(key)?;
        let field = Field { name, key: entry.key, node: &entry.node };
        let diagnostics = self.files.of(entry.file)?;
        (!field.is_null()).then_some((field, diagnostics))
    }

    /// Reads the value of a key, if it has one.
    pub(super) fn read<T: FromYaml>(&mut self, key: &str) -> Option<T> {
        let (field, diagnostics) = self.given(key)?;
        field.read(diagnostics)
    }

    /// Reads a text; a number counts as its Python text.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.read::<Text>(key).map(|text| text.0)
    }

    /// Reads a whole number.
    pub(super) fn whole(&mut self, key: &str, range: std::ops::RangeInclusive<u64>) -> Option<usize> {
        let (field, diagnostics) = self.given(key)?;
        let value = field.bounded(json(field.node).as_u64(), range, diagnostics)?;
        usize::try_from(value).ok()
    }

    /// The value of a key with `PyYAML`'s types.
    pub(super) fn json(&mut self, key: &str) -> Option<Value> {
        self.given(key).map(|(field, _)| json(field.node))
    }

    /// Notes an error at a key's value.
    pub(super) fn fault(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        if let Some((field, diagnostics)) = self.given(key) {
            let help: String = help.into();
            if help.is_empty() {
                diagnostics.error(field.node.span, message);
            } else {
                diagnostics.error_help(field.node.span, message, help);
            }
        }
    }

    /// Notes a problem of the whole task, shown at its first key.
    pub(super) fn at_top(&mut self, message: &str) {
        if let Some(entry) = self.entries.get("task").or_else(|| self.entries.values().next()) {
            self.files.error(entry, entry.key, message, "");
        }
    }

    /// Notes that a key is missing.
    pub(super) fn required(&mut self, key: &str) {
        if self.given(key).is_none() {
            self.at_top(&format!("key `{key}` is missing"));
        }
    }
}

/// A string, or a number as its Python text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl FromYaml for Text {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        match json(field.node) {
            Value::String(text) => Some(Self(text)),
            Value::Number(number) => Some(Self(number.to_string())),
            other => {
                field.refuse("a text", quote_hint(&other), diagnostics);
                None
            }
        }
    }
}

/// A boolean in one of the words that `PyYAML` reads as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

impl FromYaml for Flag {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let flag = json(field.node).as_bool();
        if flag.is_none() {
            field.expected("true or false", diagnostics);
        }
        flag.map(Self)
    }
}

/// The value of a `doc_to_*` key.
impl FromYaml for DocumentField {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let items = match json(field.node) {
            Value::String(text) => {
                check_template(field, &text, diagnostics);
                return Some(Self::Template(text));
            }
            Value::Number(number) if number.is_i64() => return number.as_i64().map(Self::Integer),
            Value::Array(items) => items,
            Value::Object(map) => map.into_iter().map(|(_, value)| value).collect(),
            other => {
                field.refuse("a text or a list", quote_hint(&other), diagnostics);
                return None;
            }
        };
        if let Some(odd) = items.iter().find(|item| matches!(item, Value::Bool(_) | Value::Null)) {
            let message = format!("`{}` has an item that is no text", field.name);
            diagnostics.push(Severity::Error, Some(field.node.span), message, quote_hint(odd));
            return None;
        }
        Some(Self::List(items))
    }
}

/// Notes that a text cannot be used as a template.
pub(super) fn check_template(field: Field<'_>, text: &str, diagnostics: &mut Diagnostics) {
    if let Err(message) = template::check(text) {
        diagnostics.error(field.node.span, format!("not a valid template: {message}"));
    }
}

/// Advice for a word that YAML 1.1 reads as something else than a text.
fn quote_hint(value: &Value) -> Option<String> {
    let hint = match value {
        Value::Bool(_) => "a bare yes, no, on, off, true or false is a boolean in YAML 1.1: put it in quotes",
        Value::Null => "put it in quotes if a word is meant",
        _ => return None,
    };
    Some(hint.to_owned())
}
