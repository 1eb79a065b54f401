//! YAML trees as JSON values, for fingerprints and the report.

use serde_json::{Number, Value};

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
        let text = crate::yaml::write::block(&tree);
        assert_eq!(read(&text), tree, "{text}");
        assert_eq!(read("x: 1e-4\ny: True\nz: 010"), value!({"x": 1e-4, "y": true, "z": 10}));
    }

    #[test]
    fn order_of_keys_does_not_reach_the_canonical_text() {
        assert_eq!(canonical(&value!({"b": [1, {"d": 1, "c": 2}], "a": null})), r#"{"a":null,"b":[1,{"c":2,"d":1}]}"#);
    }
}
