//! Escapes and character classes of Python's grammar.

use super::error::PatternError;
use super::translate::{Flags, Parser, Width};

const WORD: &str = r"\p{L}\p{N}_";
const SPACE: &str = r"\s\x1c-\x1f";
const ASCII_WORD: &str = "A-Za-z0-9_";
const ASCII_SPACE: &str = r" \t\n\r\x0c\x0b";

impl Parser {
    /// Translates what follows a backslash outside a class; the width is `None` for an assertion.
    pub(super) fn escape(&mut self, flags: Flags, start: usize) -> Result<Option<Width>, PatternError> {
        let Some(c) = self.next() else { return Err(self.fault_at("bad escape (end of pattern)", start)) };
        match c {
            'A' => self.out.push_str(r"\A"),
            'Z' | 'z' => self.out.push_str(r"\z"),
            'b' | 'B' => self.word_boundary(flags, c == 'b'),
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                let class = category(c, flags);
                self.out.push_str(&class);
                return Ok(Some(Width::ONE));
            }
            '1'..='9' => return self.number(c, start).map(Some),
            _ => {
                let literal = self.escaped_literal(c, start)?;
                self.literal(literal);
                return Ok(Some(Width::ONE));
            }
        }
        Ok(None)
    }

    pub(super) fn word_boundary(&mut self, flags: Flags, is_boundary: bool) {
        self.has_word_boundary |= !flags.ascii;
        if !flags.ascii && !self.words {
            self.out.push_str(if is_boundary { r"\b" } else { r"\B" });
            return;
        }
        let w = if flags.ascii { ASCII_WORD } else { WORD };
        self.out.push_str(&if is_boundary {
            format!("(?:(?<=[{w}])(?![{w}])|(?<![{w}])(?=[{w}]))")
        } else {
            format!("(?:(?<=[{w}])(?=[{w}])|(?<![{w}])(?![{w}]))")
        });
    }

    /// A group reference, or three octal digits.
    pub(super) fn number(&mut self, first: char, start: usize) -> Result<Width, PatternError> {
        let octal = |c: char| ('0'..='7').contains(&c);
        let mut digits = String::from(first);
        if let Some(second) = self.peek().filter(char::is_ascii_digit) {
            digits.push(second);
            self.at += 1;
            if let Some(third) = self.peek().filter(|third| octal(first) && octal(second) && octal(*third)) {
                digits.push(third);
                self.at += 1;
                let code = u32::from_str_radix(&digits, 8).ok().filter(|code| *code <= 0o377);
                let literal = code.and_then(char::from_u32);
                let reason = format!(r"octal escape value \{digits} outside of range 0-0o377");
                self.literal(literal.ok_or_else(|| self.fault_at(&reason, start))?);
                return Ok(Width::ONE);
            }
        }
        self.reference(digits.parse().unwrap_or(usize::MAX), start)
    }

    /// The character that an escape stands for, inside and outside classes.
    pub(super) fn escaped_literal(&mut self, c: char, start: usize) -> Result<char, PatternError> {
        let hex = |parser: &mut Self, digits: usize| {
            let text: String = parser.chars.iter().skip(parser.at).take(digits).collect();
            let complete = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
            let code = u32::from_str_radix(&text, 16).ok().filter(|_| complete);
            parser.at += if complete { digits } else { 0 };
            let reason = format!(r"incomplete escape \{c}{text}");
            code.and_then(char::from_u32).ok_or_else(|| parser.fault_at(&reason, start))
        };
        match c {
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            'x' => hex(self, 2),
            'u' => hex(self, 4),
            'U' => hex(self, 8),
            'N' => Err(self.fault_at(r"characters by name (\N{...}) are not supported: write the character", start)),
            '0' => {
                let mut code = 0;
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    self.at += 1;
                }
                Ok(char::from_u32(code).unwrap_or('\0'))
            }
            c if c.is_ascii_alphabetic() => Err(self.fault_at(&format!(r"bad escape \{c}"), start)),
            c => Ok(c),
        }
    }

    /// A class after its bracket.
    pub(super) fn class(&mut self, flags: Flags, start: usize) -> Result<(), PatternError> {
        self.out.push('[');
        if self.accept('^') {
            self.out.push('^');
        }
        let first = self.at;
        let unterminated = |parser: &Self| parser.fault_at("unterminated character set", start);
        loop {
            let place = self.at;
            let c = self.next().ok_or_else(|| unterminated(self))?;
            if c == ']' && place != first {
                break;
            }
            let low = self.class_item(c, flags, place)?;
            if self.peek() != Some('-') {
                self.class_literal(low);
                continue;
            }
            self.at += 1;
            let high_place = self.at;
            let c = self.next().ok_or_else(|| unterminated(self))?;
            if c == ']' {
                self.class_literal(low);
                self.class_literal(Some('-'));
                break;
            }
            let range = || -> String { self.chars[place..high_place].iter().collect() };
            let bad = self.fault_at(&format!("bad character range {}{c}", range()), place);
            match (low, self.class_item(c, flags, high_place)?) {
                (Some(low), Some(high)) if low <= high => {
                    self.class_literal(Some(low));
                    self.out.push('-');
                    self.class_literal(Some(high));
                }
                _ => return Err(bad),
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// One character of a class; nothing for a category, which is written at once.
    pub(super) fn class_item(&mut self, c: char, flags: Flags, place: usize) -> Result<Option<char>, PatternError> {
        if c != '\\' {
            return Ok(Some(c));
        }
        let Some(c) = self.next() else { return Err(self.fault_at("bad escape (end of pattern)", place)) };
        match c {
            'b' => Ok(Some('\u{8}')),
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                let class = category(c, flags);
                self.out.push_str(&class);
                Ok(None)
            }
            '1'..='7' => {
                let mut code = c.to_digit(8).expect("1 to 7 are octal digits");
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    self.at += 1;
                }
                let literal = char::from_u32(code).filter(|_| code <= 0o377);
                literal.map(Some).ok_or_else(|| self.fault_at("octal escape value outside of range 0-0o377", place))
            }
            '8' | '9' => Err(self.fault_at(&format!(r"bad escape \{c}"), place)),
            c => self.escaped_literal(c, place).map(Some),
        }
    }

    pub(super) fn class_literal(&mut self, c: Option<char>) {
        let Some(c) = c else { return };
        if r"\[]^-&~#".contains(c) {
            self.out.push('\\');
        }
        self.out.push(c);
    }
}

/// The class of a category's letter, which may stand inside another class too.
fn category(letter: char, flags: Flags) -> String {
    let not = if letter.is_ascii_uppercase() { "^" } else { "" };
    let members = match (letter.to_ascii_lowercase(), flags.ascii) {
        ('d', false) => r"\p{Nd}",
        ('d', true) => "0-9",
        ('s', false) => SPACE,
        ('s', true) => ASCII_SPACE,
        (_, false) => WORD,
        (_, true) => ASCII_WORD,
    };
    format!("[{not}{members}]")
}
