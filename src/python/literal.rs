//! Python literals as JSON values: what `ast.literal_eval` reads.
//!
//! Templates of task files print lists in Python's notation (`['yes', 'no']`, `[0, 2]`), which has
//! to be read back. Sets and complex numbers have no place there and are refused.

use serde_json::{Map, Number, Value};

/// Reads one literal: string, number, `True`, `False`, `None`, list, tuple (as a list) or dict with
/// string keys.
///
/// # Errors
/// Text that is not a literal, with the character position.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = LiteralParser { chars: text.chars().collect(), at: 0, depth: 0 };
    parser.blanks();
    let value = parser.tuple_or_value()?;
    parser.blanks();
    if parser.at < parser.chars.len() { Err(parser.fault("unexpected text")) } else { Ok(value) }
}

const MAX_DEPTH: usize = 64;

struct LiteralParser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
}

impl LiteralParser {
    fn fault(&self, what: &str) -> String {
        format!("{what} at character {}", self.at + 1)
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// A bare `1, 2` is a tuple.
    fn tuple_or_value(&mut self) -> Result<Value, String> {
        let first = self.value()?;
        self.blanks();
        if !self.take(',') {
            return Ok(first);
        }
        let mut items = vec![first];
        loop {
            self.blanks();
            if self.peek().is_none() {
                return Ok(Value::Array(items));
            }
            items.push(self.value()?);
            self.blanks();
            if !self.take(',') {
                return Ok(Value::Array(items));
            }
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        self.blanks();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fault("nested too deeply"));
        }
        let value = match self.peek() {
            Some('[') => self.list(']').map(|(items, _)| Value::Array(items)),
            Some('(') => {
                let (mut items, comma) = self.list(')')?;
                Ok(if items.len() == 1 && !comma { items.remove(0) } else { Value::Array(items) })
            }
            Some('{') => self.dict(),
            Some(c) if c == '\'' || c == '"' || self.string_prefix() => self.strings(),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            Some(c) if c.is_alphabetic() => self.word(),
            Some(_) => Err(self.fault("not a literal")),
            None => Err(self.fault("a value is missing")),
        };
        self.depth -= 1;
        value
    }

    /// Items up to `close`, and whether a comma stood before it.
    fn list(&mut self, close: char) -> Result<(Vec<Value>, bool), String> {
        self.at += 1;
        let (mut items, mut comma) = (Vec::new(), false);
        loop {
            self.blanks();
            if self.take(close) {
                return Ok((items, comma));
            }
            if !items.is_empty() && !comma {
                return Err(self.fault("a comma is missing"));
            }
            items.push(self.value()?);
            self.blanks();
            comma = self.take(',');
        }
    }

    fn dict(&mut self) -> Result<Value, String> {
        self.at += 1;
        let (mut map, mut comma) = (Map::new(), true);
        loop {
            self.blanks();
            if self.take('}') {
                return Ok(Value::Object(map));
            }
            if !comma {
                return Err(self.fault("a comma is missing"));
            }
            let key = match self.value()? {
                Value::String(key) => key,
                Value::Number(number) => number.to_string(),
                _ => return Err(self.fault("a key must be a string")),
            };
            self.blanks();
            if !self.take(':') {
                return Err(self.fault("a colon is missing"));
            }
            let value = self.value()?;
            map.insert(key, value);
            self.blanks();
            comma = self.take(',');
        }
    }

    fn string_prefix(&self) -> bool {
        matches!(self.peek(), Some('r' | 'R' | 'u' | 'U')) && matches!(self.chars.get(self.at + 1), Some('\'' | '"'))
    }

    /// Adjacent strings are one.
    fn strings(&mut self) -> Result<Value, String> {
        let mut text = String::new();
        loop {
            let raw = matches!(self.peek(), Some('r' | 'R'));
            if self.string_prefix() {
                self.at += 1;
            }
            self.string(raw, &mut text)?;
            self.blanks();
            if !(matches!(self.peek(), Some('\'' | '"')) || self.string_prefix()) {
                return Ok(Value::String(text));
            }
        }
    }

    fn string(&mut self, raw: bool, text: &mut String) -> Result<(), String> {
        let Some(quote) = self.peek() else { return Err(self.fault("a string is missing")) };
        let long = self.chars.get(self.at + 1) == Some(&quote) && self.chars.get(self.at + 2) == Some(&quote);
        self.at += if long { 3 } else { 1 };
        loop {
            let Some(c) = self.peek() else { return Err(self.fault("a string does not end")) };
            self.at += 1;
            if c == quote {
                if !long {
                    return Ok(());
                }
                if self.peek() == Some(quote) && self.chars.get(self.at + 1) == Some(&quote) {
                    self.at += 2;
                    return Ok(());
                }
                text.push(c);
            } else if c == '\n' && !long {
                return Err(self.fault("a string does not end on its line"));
            } else if c == '\\' && !raw {
                self.escape(text)?;
            } else {
                text.push(c);
                if let (true, Some(next)) = (c == '\\', self.peek()) {
                    text.push(next);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<(), String> {
        let Some(c) = self.peek() else { return Err(self.fault("a string does not end")) };
        self.at += 1;
        match c {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'a' => text.push('\x07'),
            'b' => text.push('\x08'),
            'f' => text.push('\x0c'),
            'v' => text.push('\x0b'),
            '\n' => {}
            '\\' | '\'' | '"' => text.push(c),
            'x' | 'u' | 'U' => {
                let count = match c {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                text.push(self.code(count, 16)?);
            }
            '0'..='7' => {
                self.at -= 1;
                let digits = self.chars.iter().skip(self.at).take(3).take_while(|c| c.is_digit(8)).count();
                text.push(self.code(digits, 8)?);
            }
            other => {
                text.push('\\');
                text.push(other);
            }
        }
        Ok(())
    }

    fn code(&mut self, count: usize, radix: u32) -> Result<char, String> {
        let digits: String = self.chars.iter().skip(self.at).take(count).collect();
        let code = (digits.chars().count() == count).then(|| u32::from_str_radix(&digits, radix).ok()).flatten();
        let c = code.and_then(char::from_u32).ok_or_else(|| self.fault("not a character code"))?;
        self.at += count;
        Ok(c)
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
            || (self.peek().is_some_and(|c| matches!(c, '-' | '+'))
                && (self.at == start || matches!(self.chars.get(self.at - 1), Some('e' | 'E'))))
        {
            self.at += 1;
        }
        let text: String = self.chars.iter().skip(start).take(self.at - start).filter(|c| **c != '_').collect();
        let digits = text.trim_start_matches(['-', '+']);
        let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        let fault = || format!("`{text}` is no number (at character {})", start + 1);
        if leading_zero && digits.bytes().any(|b| b != b'0') {
            return Err(fault());
        }
        if let Ok(integer) = text.trim_start_matches('+').parse::<i64>() {
            return Ok(integer.into());
        }
        let numeric = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
        let float = if numeric { text.parse::<f64>().ok() } else { None };
        float.and_then(Number::from_f64).map(Value::Number).ok_or_else(fault)
    }

    fn word(&mut self) -> Result<Value, String> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.at += 1;
        }
        let word: String = self.chars.iter().skip(start).take(self.at - start).collect();
        match word.as_str() {
            "True" => Ok(Value::Bool(true)),
            "False" => Ok(Value::Bool(false)),
            "None" => Ok(Value::Null),
            _ => Err(format!("`{word}` is no literal (at character {})", start + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn literals_read_as_in_python() {
        for (text, expected) in [
            ("['a', \"it's\", 'x' 'y']", json!(["a", "it's", "xy"])),
            ("[0, -2, 1.5, 1e3, True, None]", json!([0, -2, 1.5, 1000.0, true, null])),
            ("(1,)", json!([1])),
            ("(1)", json!(1)),
            ("1, 2", json!([1, 2])),
            ("{'a': [1], 'b': {}}", json!({"a": [1], "b": {}})),
            (r"'\n\x41\u00e9\'\q'", json!("\nAé'\\q")),
            ("r'\\n'", json!("\\n")),
            ("'''a\nb'''", json!("a\nb")),
            ("  [ ]  ", json!([])),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in ["", "[1", "[1 2]", "x", "1x", "'a", "{1}", "007", "f('x')", "[1]]", "'\\xg0'"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\](){}:,'\"\\\\a-fxu0-9 .eTN+-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
