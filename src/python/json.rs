//! Values as Python spells them: `json.dumps` and `str`, whose bytes the harness hashes.

use std::fmt::Write as _;

pub(crate) use crate::python::repr::{float, json_text as str};
use crate::storage::hash::sha256_bytes;
use serde_json::Value;

/// SHA-256 of a text in hexadecimal.
#[must_use]
pub(crate) fn hash(text: &str) -> String {
    sha256_bytes(text.as_bytes())
}

/// The hash of a document: of its JSON, indented by two, with all characters as they are.
#[must_use]
pub(crate) fn document_hash(doc: &Value) -> String {
    let mut text = String::new();
    indented(doc, 0, &mut text);
    hash(&text)
}

fn number(n: &serde_json::Number) -> String {
    if n.is_f64() { n.as_f64().map_or_else(|| n.to_string(), float) } else { n.to_string() }
}

fn indented(value: &Value, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    match value {
        Value::Number(n) => out.push_str(&number(n)),
        Value::Array(list) if !list.is_empty() => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(depth + 1, out);
                indented(item, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Value::Object(map) if !map.is_empty() => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(depth + 1, out);
                let _ = write!(out, "{}: ", Value::String(key.clone()));
                indented(item, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}
