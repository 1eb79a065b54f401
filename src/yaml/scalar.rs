//! Text of YAML scalars: unquoted, quoted and block.

use super::scanner::{Scanner, is_break, is_space};
use super::token::{Mark, ScanResult};

impl Scanner {
    /// Unquoted text, its lines joined; ends at `: `, ` #`, less indentation, and in brackets at
    /// `,[]{}` (and not at `?`: there libyaml differs from PyYAML).
    pub(super) fn plain(&mut self) -> ScanResult<(String, Mark)> {
        let start = self.mark;
        let indent = self.indent + 1;
        let flow = self.flow_level > 0;
        let mut text = String::new();
        let mut spaces = String::new();
        let mut end = self.mark;
        while self.at(0) != '#' {
            let mut length = 0;
            loop {
                let (c, next) = (self.at(length), self.at(length + 1));
                let value = c == ':' && (is_space(next) || (flow && ",[]{}".contains(next)));
                if is_space(c) || value || (flow && ",[]{}".contains(c)) {
                    break;
                }
                length += 1;
            }
            if length == 0 {
                break;
            }
            self.allow_simple_key = false;
            text.push_str(&spaces);
            text.push_str(&self.take(length));
            end = self.mark;
            spaces = self.plain_spaces(indent, start)?;
            if spaces.is_empty() || self.at(0) == '#' || (!flow && (self.mark.column as isize) < indent) {
                break;
            }
        }
        Ok((text, end))
    }

    /// Blanks and line breaks between two words of unquoted text; empty where a document ends.
    fn plain_spaces(&mut self, indent: isize, start: Mark) -> ScanResult<String> {
        let mut length = 0;
        while matches!(self.at(length), ' ' | '\t') {
            length += 1;
        }
        let blanks = self.take(length);
        let Some(first) = self.line_break() else { return Ok(blanks) };
        self.allow_simple_key = true;
        let mut breaks = String::new();
        loop {
            if self.at_document_mark() {
                return Ok(String::new());
            }
            match self.at(0) {
                '\t' if (self.mark.column as isize) < indent => {
                    return self.fault(start, "a tab cannot indent text that goes on on the next line");
                }
                ' ' | '\t' => self.forward(1),
                _ => match self.line_break() {
                    Some(c) => breaks.push(c),
                    None => break,
                },
            }
        }
        Ok(folded(first, breaks))
    }

    /// Text in quotes. Indentation does not count in it.
    pub(super) fn quoted(&mut self, quote: char) -> ScanResult<String> {
        let start = self.mark;
        let double = quote == '"';
        self.forward(1);
        let mut text = String::new();
        loop {
            match self.at(0) {
                '\0' => return self.fault(start, "quoted text has no end"),
                c if c == quote && !double && self.at(1) == quote => {
                    text.push(quote);
                    self.forward(2);
                }
                c if c == quote => {
                    self.forward(1);
                    return Ok(text);
                }
                '\\' if double => {
                    self.forward(1);
                    self.escape(&mut text)?;
                }
                c if is_space(c) => {
                    let mut length = 0;
                    while matches!(self.at(length), ' ' | '\t') {
                        length += 1;
                    }
                    let blanks = self.take(length);
                    match self.line_break() {
                        Some(first) => {
                            let breaks = self.quoted_breaks()?;
                            text.push_str(&folded(first, breaks));
                        }
                        None => text.push_str(&blanks),
                    }
                }
                c => {
                    text.push(c);
                    self.forward(1);
                }
            }
        }
    }

    fn quoted_breaks(&mut self) -> ScanResult<String> {
        let mut breaks = String::new();
        loop {
            if self.at_document_mark() {
                return self.fault(self.mark, "a document ends inside quoted text");
            }
            while matches!(self.at(0), ' ' | '\t') {
                self.forward(1);
            }
            match self.line_break() {
                Some(c) => breaks.push(c),
                None => return Ok(breaks),
            }
        }
    }

    /// Scans an escape after its backslash, in double quotes.
    fn escape(&mut self, text: &mut String) -> ScanResult<()> {
        let c = self.at(0);
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let mark = self.mark;
            self.forward(1);
            let code = self.take(digits);
            let value = u32::from_str_radix(&code, 16).ok().filter(|_| code.bytes().all(|b| b.is_ascii_hexdigit()));
            let value = value.filter(|_| code.len() == digits).and_then(char::from_u32);
            return match value {
                Some(value) => {
                    text.push(value);
                    Ok(())
                }
                None => self.fault(mark, format!("`\\{c}` takes {digits} hexadecimal digits of a character")),
            };
        }
        let plain = match c {
            '0' => '\0',
            'a' => '\u{7}',
            'b' => '\u{8}',
            't' | '\t' => '\t',
            'n' => '\n',
            'v' => '\u{b}',
            'f' => '\u{c}',
            'r' => '\r',
            'e' => '\u{1b}',
            ' ' => ' ',
            '"' => '"',
            '\\' => '\\',
            '/' => '/',
            'N' => '\u{85}',
            '_' => '\u{a0}',
            'L' => '\u{2028}',
            'P' => '\u{2029}',
            _ if self.line_break().is_some() => {
                let breaks = self.quoted_breaks()?;
                text.push_str(&breaks);
                return Ok(());
            }
            _ => return self.fault(self.mark, format!("unknown escape `\\{c}`; write `\\\\` for a backslash")),
        };
        text.push(plain);
        self.forward(1);
        Ok(())
    }

    /// Text after `|` or `>`.
    pub(super) fn block_scalar(&mut self, fold: bool) -> ScanResult<(String, Mark)> {
        let start = self.mark;
        self.forward(1);
        let (mut keep, mut increment) = (None, None);
        for _ in 0..2 {
            match self.at(0) {
                c @ ('+' | '-') if keep.is_none() => keep = Some(c == '+'),
                '0' => return self.fault(self.mark, "the indentation of a block is 1 to 9"),
                c @ '1'..='9' if increment.is_none() => increment = c.to_digit(10).map(|n| n as isize),
                _ => break,
            }
            self.forward(1);
        }
        while matches!(self.at(0), ' ' | '\t') {
            self.forward(1);
        }
        if self.at(0) == '#' {
            self.skip_line();
        }
        if !is_break(self.at(0)) {
            return self.fault(start, format!("{} cannot follow the sign of a block", self.found()));
        }
        self.line_break();
        let least = (self.indent + 1).max(1);
        let (indent, mut breaks, mut end) = match increment {
            Some(increment) => {
                let indent = least + increment - 1;
                let (breaks, end) = self.block_breaks(indent);
                (indent, breaks, end)
            }
            None => {
                let (breaks, deepest, end) = self.block_indentation();
                (least.max(deepest), breaks, end)
            }
        };
        let mut text = String::new();
        let mut last = None;
        while self.mark.column as isize == indent && self.at(0) != '\0' {
            text.push_str(&breaks);
            let word = !matches!(self.at(0), ' ' | '\t');
            let mut length = 0;
            while !is_break(self.at(length)) {
                length += 1;
            }
            text.push_str(&self.take(length));
            last = self.line_break();
            (breaks, end) = self.block_breaks(indent);
            if self.mark.column as isize != indent || self.at(0) == '\0' {
                break;
            }
            match last.take() {
                Some('\n') if fold && word && !matches!(self.at(0), ' ' | '\t') => {
                    if breaks.is_empty() {
                        text.push(' ');
                    }
                }
                other => text.extend(other),
            }
        }
        if keep != Some(false) {
            text.extend(last);
        }
        if keep == Some(true) {
            text.push_str(&breaks);
        }
        Ok((text, end))
    }

    /// Empty lines before a block's text, and the deepest of their indentations and its own.
    fn block_indentation(&mut self) -> (String, isize, Mark) {
        let (mut breaks, mut deepest, mut end) = (String::new(), 0, self.mark);
        loop {
            if self.at(0) == ' ' {
                self.forward(1);
                deepest = deepest.max(self.mark.column as isize);
            } else if let Some(c) = self.line_break() {
                breaks.push(c);
                end = self.mark;
            } else {
                return (breaks, deepest, end);
            }
        }
    }

    /// Empty lines in a block, up to the indentation of the next line.
    fn block_breaks(&mut self, indent: isize) -> (String, Mark) {
        let (mut breaks, mut end) = (String::new(), self.mark);
        loop {
            while (self.mark.column as isize) < indent && self.at(0) == ' ' {
                self.forward(1);
            }
            match self.line_break() {
                Some(c) => {
                    breaks.push(c);
                    end = self.mark;
                }
                None => return (breaks, end),
            }
        }
    }
}

/// A line break becomes a blank, unless empty lines follow, which stay.
fn folded(first: char, breaks: String) -> String {
    match first {
        '\n' if breaks.is_empty() => " ".to_owned(),
        '\n' => breaks,
        other => format!("{other}{breaks}"),
    }
}
