//! Printing of values as in Python: `str`, `repr`, `json.dumps`, and its white space.

use std::fmt::Write as _;

use minijinja::value::{Serde, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use crate::python::jinja::template::fits;

/// Deepest nesting of a printed value. Documents nest at most 128 deep; Python stops at about a thousand.
const DEEPEST: usize = 500;

/// `str(value)`; an undefined value prints nothing.
///
/// # Errors
/// A value that nests too deep, as one does that holds itself, or whose text is too long.
pub(crate) fn text(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => repr(value),
    }
}

/// `repr(value)`.
///
/// # Errors
/// As [`text`].
pub(crate) fn repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_repr(value, 0, &mut out)?;
    Ok(out)
}

fn write_repr(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    check(depth, out)?;
    match value.kind() {
        ValueKind::Undefined => {}
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => out.push_str(&repr_str(value.as_str().expect("a value of this kind is text"))),
        ValueKind::Seq | ValueKind::Iterable => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            out.push(open);
            let mut count = 0;
            for item in value.try_iter().into_iter().flatten() {
                if count > 0 {
                    out.push_str(", ");
                }
                write_repr(&item, depth + 1, out)?;
                count += 1;
            }
            if value.is_tuple() && count == 1 {
                out.push(',');
            }
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (index, (key, item)) in entries(value).iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_repr(key, depth + 1, out)?;
                out.push_str(": ");
                write_repr(item, depth + 1, out)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// Depth and length of what is printed: a value may hold itself, or one part very often.
fn check(depth: usize, out: &str) -> Result<(), Error> {
    if depth > DEEPEST {
        let message = format!("a value that nests more than {DEEPEST} deep, or holds itself, cannot be printed");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    fits(out.len())
}

/// A JSON value as templates see it.
#[must_use]
pub(crate) fn value_of(json: &serde_json::Value) -> Value {
    Value::from(Serde(json))
}

/// `str` of a JSON value as Python would hold it.
#[must_use]
pub(crate) fn json_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => {
            let mut out = String::new();
            json_repr(other, &mut out);
            out
        }
    }
}

/// `repr` of a JSON value, which is finite and holds nothing twice.
fn json_repr(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                json_repr(item, out);
            }
            out.push(']');
        }
        serde_json::Value::Object(map) => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.push_str(&repr_str(key));
                out.push_str(": ");
                json_repr(item, out);
            }
            out.push('}');
        }
        serde_json::Value::Null => out.push_str("None"),
        serde_json::Value::Bool(truth) => out.push_str(if *truth { "True" } else { "False" }),
        serde_json::Value::String(text) => out.push_str(&repr_str(text)),
        serde_json::Value::Number(_) => out.push_str(&number(&value_of(value))),
    }
}

fn entries(map: &Value) -> Vec<(Value, Value)> {
    // Objects of templates may refuse to be listed, or to give a value: these then show none.
    let keys = map.try_iter().map_or_else(|_| Vec::new(), Iterator::collect);
    keys.into_iter().map(|key| (key.clone(), map.get_item(&key).unwrap_or(Value::UNDEFINED))).collect()
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
}

/// `repr` of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16.
#[must_use]
pub(crate) fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if printable(c) => out.push(c),
            c => {
                let code = c as u32;
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
    out
}

/// `str.isprintable` but for unassigned characters, which Unicode tables would be needed for.
fn printable(c: char) -> bool {
    const FORMAT: &[(u32, u32)] = &[
        (0xad, 0xad),
        (0x600, 0x605),
        (0x61c, 0x61c),
        (0x6dd, 0x6dd),
        (0x70f, 0x70f),
        (0x180e, 0x180e),
        (0x200b, 0x200f),
        (0x202a, 0x202e),
        (0x2060, 0x206f),
        (0xe000, 0xf8ff),
        (0xfeff, 0xfeff),
        (0xfff9, 0xfffb),
        (0xe0001, 0xe007f),
        (0xf_0000, 0x10_ffff),
    ];
    let code = c as u32;
    c == ' ' || !(c.is_control() || c.is_whitespace() || FORMAT.iter().any(|(a, b)| (*a..=*b).contains(&code)))
}

/// `str.isspace` of one character: Unicode white space and the four ASCII separators.
#[must_use]
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Text layout of `json.dumps`.
#[derive(Debug, Clone, Default)]
pub(crate) struct JsonLayout {
    /// Indentation of a level; `None` writes one line.
    pub indent: Option<String>,
    /// Item and key separators, where not the defaults.
    pub separators: Option<(String, String)>,
    /// Escape everything beyond ASCII.
    pub ensure_ascii: bool,
    /// Sort mappings by key.
    pub sort_keys: bool,
}

/// `json.dumps(value)`.
///
/// # Errors
/// As [`text`].
pub(crate) fn json_dumps(value: &Value, layout: &JsonLayout) -> Result<String, Error> {
    let mut out = String::new();
    dump(value, layout, 0, &mut out)?;
    Ok(out)
}

fn dump(value: &Value, layout: &JsonLayout, depth: usize, out: &mut String) -> Result<(), Error> {
    check(depth, out)?;
    let (item_separator, key_separator) = match (&layout.separators, &layout.indent) {
        (Some((item, key)), _) => (item.as_str(), key.as_str()),
        (None, Some(_)) => (",", ": "),
        (None, None) => (", ", ": "),
    };
    let newline = |depth: usize, out: &mut String| {
        if let Some(indent) = &layout.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    };
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&match number(value).as_str() {
            "nan" => "NaN".to_owned(),
            "inf" => "Infinity".to_owned(),
            "-inf" => "-Infinity".to_owned(),
            other => other.to_owned(),
        }),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter().map_or_else(|_| Vec::new(), Iterator::collect);
            if items.is_empty() {
                out.push_str("[]");
                return Ok(());
            }
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(item_separator);
                }
                newline(depth + 1, out);
                dump(item, layout, depth + 1, out)?;
            }
            newline(depth, out);
            out.push(']');
        }
        ValueKind::Map => {
            let mut pairs = entries(value);
            if pairs.is_empty() {
                out.push_str("{}");
                return Ok(());
            }
            if layout.sort_keys {
                pairs.sort_by_cached_key(|(key, _)| key_text(key));
            }
            out.push('{');
            for (i, (key, item)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.push_str(item_separator);
                }
                newline(depth + 1, out);
                json_string(&key_text(key), layout.ensure_ascii, out);
                out.push_str(key_separator);
                dump(item, layout, depth + 1, out)?;
            }
            newline(depth, out);
            out.push('}');
        }
        _ => json_string(&value.to_string(), layout.ensure_ascii, out),
    }
    Ok(())
}

/// Keys that are no strings are written as JSON would write the value.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => key.is_true().to_string(),
        ValueKind::Number => number(key),
        _ => key.as_str().map_or_else(|| key.to_string(), str::to_owned),
    }
}

fn json_string(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ensure_ascii && !c.is_ascii()) || (ensure_ascii && c == '\x7f') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(json: serde_json::Value) -> Value {
        value_of(&json)
    }

    /// The right-hand sides are what Python prints.
    #[test]
    fn values_print_as_in_python() {
        for (x, expected) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e300, "1.5e+300"),
        ] {
            assert_eq!(float(x), expected);
        }
        let mixed = value(json!({"a": [1, 2.0, null, true], "it's": "say \"x\"\n\u{a0}\u{200b}é"}));
        assert_eq!(text(&mixed).unwrap(), "{'a': [1, 2.0, None, True], \"it's\": 'say \"x\"\\n\\xa0\\u200bé'}");
        assert_eq!(repr(&value(json!("it's"))).unwrap(), "\"it's\"");
        assert_eq!(repr(&value(json!("it's \"so\""))).unwrap(), "'it\\'s \"so\"'");
    }

    #[test]
    fn json_is_laid_out_as_in_python() {
        let v = value(json!({"b": 1, "a": [1, "é<"], "c": {}, "d": [], "e": "\u{1}"}));
        let plain = JsonLayout::default();
        assert_eq!(json_dumps(&v, &plain).unwrap(), r#"{"b": 1, "a": [1, "é<"], "c": {}, "d": [], "e": "\u0001"}"#);
        let layout = JsonLayout { indent: Some("  ".into()), ensure_ascii: true, sort_keys: true, separators: None };
        assert_eq!(
            json_dumps(&v, &layout).unwrap(),
            "{\n  \"a\": [\n    1,\n    \"\\u00e9<\"\n  ],\n  \"b\": 1,\n  \"c\": {},\n  \"d\": [],\n  \"e\": \"\\u0001\"\n}"
        );
    }
}
