//! Replacement texts of `re.sub`: `\1`, `\g<name>` and escapes.

use super::error::PatternError;
use super::pattern::{Found, PythonRegex};

/// A replacement text, parsed for one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Parses a replacement for the matches of `regex`.
    ///
    /// # Errors
    /// Python's: a bad escape, or a group that the pattern does not have.
    pub(crate) fn new(regex: &PythonRegex, replacement: &str) -> Result<Self, PatternError> {
        let chars: Vec<char> = replacement.chars().collect();
        let (mut parts, mut text, mut at) = (Vec::new(), String::new(), 0);
        while let Some(&c) = chars.get(at) {
            let start = at;
            at += 1;
            if c != '\\' {
                text.push(c);
                continue;
            }
            let fault = |reason: String| PatternError { reason, position: start };
            let Some(&escaped) = chars.get(at) else { return Err(fault("bad escape (end of pattern)".to_owned())) };
            at += 1;
            let group = match escaped {
                'g' => {
                    let name: String = chars.iter().skip(at + 1).take_while(|c| **c != '>').collect();
                    let end = at + 1 + name.chars().count();
                    if chars.get(at) != Some(&'<') || chars.get(end) != Some(&'>') {
                        return Err(fault("missing group name".to_owned()));
                    }
                    at = end + 1;
                    let number = name.parse().ok().or_else(|| regex.group_number(&name));
                    number.ok_or_else(|| fault(format!("unknown group name '{name}'")))?
                }
                '0'..='9' => {
                    let digits: String = chars.iter().skip(at - 1).take(3).take_while(|c| c.is_ascii_digit()).collect();
                    let octal = |text: &str| text.bytes().all(|b| (b'0'..b'8').contains(&b));
                    let is_octal = octal(&digits) && (escaped == '0' || digits.len() == 3);
                    let length = if is_octal { digits.len() } else { digits.len().min(2) };
                    let digits = digits.get(..length).unwrap_or(&digits);
                    at += length - 1;
                    if is_octal || escaped == '0' {
                        let digits: String = digits.chars().take_while(|c| c.is_digit(8)).collect();
                        at -= length - digits.len();
                        let code = u32::from_str_radix(&digits, 8).ok().filter(|code| *code <= 0o377);
                        let literal = code.and_then(char::from_u32);
                        let reason = format!(r"octal escape value \{digits} outside of range 0-0o377");
                        text.push(literal.ok_or_else(|| fault(reason))?);
                        continue;
                    }
                    digits.parse().map_err(|_| fault(format!("invalid group reference {digits}")))?
                }
                'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => {
                    text.push(match escaped {
                        'a' => '\u{7}',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'v' => '\u{b}',
                        other => other,
                    });
                    continue;
                }
                letter if letter.is_ascii_alphabetic() => return Err(fault(format!(r"bad escape \{letter}"))),
                other => {
                    text.push('\\');
                    text.push(other);
                    continue;
                }
            };
            if group >= regex.groups() {
                return Err(PatternError { reason: format!("invalid group reference {group}"), position: start + 1 });
            }
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Group(group));
        }
        parts.push(Part::Text(text));
        Ok(Self { parts })
    }

    /// The text that stands for a match. A group that took no part is empty.
    #[must_use]
    pub(crate) fn expand(&self, found: &Found<'_>) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Group(group) => found.group(*group).map_or_else(String::new, str::to_owned),
        };
        self.parts.iter().map(text).collect()
    }
}
