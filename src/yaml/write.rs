//! Trees of values as YAML text, for people and for our own reader.

use std::fmt::Write as _;

use serde_json::Value;

/// The value as YAML in block style, which any of our readers takes.
#[must_use]
pub(crate) fn block(value: &Value) -> String {
    let mut text = String::new();
    lines(value, 0, &mut text);
    text
}

fn lines(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(text, "{indent}{}:", word(key));
                below(value, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let Value::Object(map) = item else {
                    let _ = write!(text, "{indent}-");
                    below(item, depth, text);
                    continue;
                };
                let mut inner = String::new();
                lines(item, depth + 1, &mut inner);
                if map.is_empty() {
                    let _ = writeln!(text, "{indent}- {{}}");
                } else {
                    // The first key stands behind the dash.
                    let _ = write!(text, "{indent}- {}", inner.trim_start());
                }
            }
        }
        other => {
            let _ = writeln!(text, "{indent}{}", flow(other));
        }
    }
}

fn below(value: &Value, depth: usize, text: &mut String) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    };
    if nested {
        text.push('\n');
        lines(value, depth + 1, text);
    } else {
        let _ = writeln!(text, " {}", flow(value));
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A text bare where that reads back as the same text, else quoted.
fn word(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./-+@".contains(c));
    let taken = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "inf", "nan", "infinity"];
    if plain && !taken.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        // JSON's quoting is YAML's.
        Value::from(text).to_string()
    }
}
