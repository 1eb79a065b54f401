//! YAML trees as JSON values and back, for settings that are handed on to other readers.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use crate::yaml::{Kind, Node, number};

/// A tree as a value: numbers in every spelling that recipes accept, `true` and `false`, else text.
#[must_use]
pub(crate) fn json(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        Kind::Scalar { text, quoted: true } => Value::String(text.clone()),
        Kind::Scalar { text, quoted: false } => scalar(text),
        Kind::Sequence(items) => Value::Array(items.iter().map(json).collect()),
        Kind::Mapping(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.value.clone(), json(value))).collect())
        }
    }
}

fn scalar(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Value::from(whole);
    }
    let real = number(text).and_then(Number::from_f64);
    real.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// The value as YAML in block style, which any of our readers takes.
#[must_use]
pub fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
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
                block(item, depth + 1, &mut inner);
                if map.is_empty() {
                    let _ = writeln!(text, "{indent}- {{}}");
                } else {
                    // The first key follows the dash.
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
        block(value, depth + 1, text);
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

/// The value with its mappings in order of key and no blanks: equal values give equal texts.
#[must_use]
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let entries = keys.into_iter().map(|key| {
                let value = map.get(key).map_or_else(String::new, canonical);
                format!("{}:{value}", Value::from(key.as_str()))
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// `over` on top of `under`, key by key; mappings are joined, everything else is replaced.
#[must_use]
pub(crate) fn overlaid(under: &Map<String, Value>, over: &Map<String, Value>) -> Map<String, Value> {
    let mut map = under.clone();
    for (key, value) in over {
        let joined = match (map.get(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => Value::Object(overlaid(under, over)),
            _ => value.clone(),
        };
        map.insert(key.clone(), joined);
    }
    map
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json as value;

    use super::*;
    use crate::yaml::diagnostic::SourceText;
    use crate::yaml::{Diagnostics, parse};

    fn read(text: &str) -> Value {
        let source = Arc::new(SourceText { name: "x".into(), text: text.into() });
        let mut diagnostics = Diagnostics::new(source, false);
        let nodes = parse(text, &mut diagnostics);
        assert!(!diagnostics.has_errors(), "{text}");
        nodes.first().map_or(Value::Null, json)
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let tree = value!({
            "a": 1, "learning_rate": 2e-4, "no": "no", "text": "x: y # z", "empty": {}, "none": null, "list": [1, "b", true],
            "models": [{"model": {"model": {"path": "/a b/c"}, "lora": {"path": "x+y"}}, "parameters": {"weight": 0.25}}, {}, [1, [2]]],
            "7": "-", "quote\"": "line\nbreak", "number": "12"
        });
        assert_eq!(read(&yaml(&tree)), tree, "{}", yaml(&tree));
        assert_eq!(read("x: 1e-4\ny: True\nz: 010"), value!({"x": 1e-4, "y": true, "z": 10}));
    }

    #[test]
    fn order_of_keys_does_not_reach_the_canonical_text() {
        assert_eq!(canonical(&value!({"b": [1, {"d": 1, "c": 2}], "a": null})), r#"{"a":null,"b":[1,{"c":2,"d":1}]}"#);
        let (under, over) = (value!({"a": {"x": 1, "y": 2}, "b": [1]}), value!({"a": {"y": 3}, "b": [2]}));
        let joined = overlaid(under.as_object().unwrap(), over.as_object().unwrap());
        assert_eq!(Value::Object(joined), value!({"a": {"x": 1, "y": 3}, "b": [2]}));
    }
}
