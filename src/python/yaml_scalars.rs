//! YAML scalars with the types that PyYAML gives them, as JSON values.
//!
//! Task files are written for PyYAML's YAML 1.1: a bare `yes` is a boolean, `1e-3` a string. Dates
//! stay text.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Number, Value};

use crate::yaml::{Kind, Node};

static INTEGER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[-+]?(0b[01_]+|0[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$").ok());
static FLOAT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]+)?$").ok());

/// A tree as the JSON value that PyYAML's loader would make of it.
pub(crate) fn json(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        Kind::Scalar { text, quoted: true } => Value::String(text.clone()),
        Kind::Scalar { text, quoted: false } => scalar(text),
        Kind::Sequence(items) => Value::Array(items.iter().map(json).collect()),
        Kind::Mapping(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.value.clone(), json(value))).collect::<Map<_, _>>())
        }
    }
}

fn scalar(text: &str) -> Value {
    let word = text.to_ascii_lowercase();
    // Only the three usual cases of each word count.
    let cased = text == word || text == text.to_ascii_uppercase() || {
        let mut chars = text.chars();
        chars.next().is_some_and(char::is_uppercase) && chars.all(|c| c.is_ascii_lowercase())
    };
    match word.as_str() {
        "yes" | "true" | "on" if cased => return Value::Bool(true),
        "no" | "false" | "off" if cased => return Value::Bool(false),
        _ => {}
    }
    let is = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|p| p.is_match(text));
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let digits = digits.replace('_', "");
    if is(&INTEGER) {
        let value = if let Some(binary) = digits.strip_prefix("0b") {
            i64::from_str_radix(binary, 2)
        } else if let Some(hex) = digits.strip_prefix("0x") {
            i64::from_str_radix(hex, 16)
        } else if digits.len() > 1 && digits.starts_with('0') {
            i64::from_str_radix(&digits, 8)
        } else {
            digits.parse()
        };
        if let Ok(value) = value {
            return Value::from(sign * value);
        }
    } else if is(&FLOAT) {
        let number = digits.parse::<f64>().ok().and_then(|x| Number::from_f64(f64::from(sign as i32) * x));
        if let Some(number) = number {
            return Value::Number(number);
        }
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as value;

    #[test]
    fn scalars_have_pyyamls_types() {
        for (text, expected) in [
            ("yes", value!(true)),
            ("Off", value!(false)),
            ("oFF", value!("oFF")),
            ("y", value!("y")),
            ("12", value!(12)),
            ("-1_000", value!(-1000)),
            ("010", value!(8)),
            ("0x1f", value!(31)),
            ("1.5", value!(1.5)),
            (".5", value!(0.5)),
            ("1e-3", value!("1e-3")),
            ("1.0e-3", value!(0.001)),
            ("2024-01-01", value!("2024-01-01")),
            ("-", value!("-")),
        ] {
            assert_eq!(scalar(text), expected, "{text}");
        }
    }
}
