//! Tokens of a YAML text, by the rules of PyYAML and libyaml.
//!
//! Recipes and task files are written for those two, which are less strict than YAML 1.2 in flow
//! collections and quoted text (indentation does not count there) and stricter with tabs. The scanner
//! follows PyYAML's `scanner.py` function by function; tabs between tokens are taken as by libyaml.
//! Text of scalars is read in `scalar.rs`.

use std::collections::{BTreeMap, VecDeque};

use super::token::{Mark, ScanError, ScanResult, Token, TokenKind};

/// A token that becomes a key if a `:` follows on its line.
#[derive(Debug, Clone, Copy)]
struct SimpleKey {
    /// Number of the token, counted from the start of the text.
    token: usize,
    /// Whether nothing but a key can stand there.
    required: bool,
    mark: Mark,
}

/// Longest key, in characters, as in PyYAML.
const LONGEST_KEY: usize = 1024;

/// Turns text into tokens, a few at a time.
pub(super) struct Scanner {
    chars: Vec<char>,
    pub(super) mark: Mark,
    tokens: VecDeque<Token>,
    /// Tokens handed out so far.
    taken: usize,
    done: bool,
    pub(super) flow_level: usize,
    /// Column of the innermost block collection; -1 outside of all.
    pub(super) indent: isize,
    indents: Vec<isize>,
    pub(super) allow_simple_key: bool,
    /// Possible keys by flow level.
    keys: BTreeMap<usize, SimpleKey>,
}

/// A line break, or the end of the text.
pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\0' | '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// A blank, a tab, a line break, or the end of the text.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t') || is_break(c)
}

impl Scanner {
    /// A scanner at the start of a text.
    pub(super) fn new(text: &str) -> Self {
        Self {
            chars: text.chars().collect(),
            mark: Mark { index: 0, line: 0, column: 0, shown: (0, 0) },
            tokens: VecDeque::new(),
            taken: 0,
            done: false,
            flow_level: 0,
            indent: -1,
            indents: Vec::new(),
            allow_simple_key: true,
            keys: BTreeMap::new(),
        }
    }

    /// The next token, which stays.
    pub(super) fn peek(&mut self) -> ScanResult<&Token> {
        while self.needs_more()? {
            self.fetch_more()?;
        }
        self.tokens.front().ok_or(ScanError { message: "the text ends early".to_owned(), mark: self.mark })
    }

    /// The next token, which is taken.
    pub(super) fn next(&mut self) -> ScanResult<Token> {
        self.peek()?;
        self.taken += 1;
        self.tokens.pop_front().ok_or(ScanError { message: "the text ends early".to_owned(), mark: self.mark })
    }

    /// The character `ahead` places on; `\0` beyond the end.
    pub(super) fn at(&self, ahead: usize) -> char {
        self.chars.get(self.mark.index + ahead).copied().unwrap_or('\0')
    }

    pub(super) fn forward(&mut self, count: usize) {
        for _ in 0..count {
            let Some(&c) = self.chars.get(self.mark.index) else { return };
            self.mark.index += 1;
            if matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}') || (c == '\r' && self.at(0) != '\n') {
                self.mark.line += 1;
                self.mark.column = 0;
            } else if c != '\u{feff}' {
                self.mark.column += 1;
            }
            self.mark.shown =
                if c == '\n' { (self.mark.shown.0 + 1, 0) } else { (self.mark.shown.0, self.mark.shown.1 + 1) };
        }
    }

    /// Takes `length` characters as text.
    pub(super) fn take(&mut self, length: usize) -> String {
        let start = self.mark.index;
        let text = self.chars[start..(start + length).min(self.chars.len())].iter().collect();
        self.forward(length);
        text
    }

    #[expect(clippy::unused_self, reason = "called in the middle of scanning, like its other steps")]
    pub(super) fn fault<T>(&self, mark: Mark, message: impl Into<String>) -> ScanResult<T> {
        Err(ScanError { message: message.into(), mark })
    }

    /// The character at hand as messages show it.
    pub(super) fn found(&self) -> String {
        match self.at(0) {
            '\0' => "the end of the text".to_owned(),
            '\n' | '\r' => "the end of the line".to_owned(),
            '\t' => "a tab".to_owned(),
            c => format!("`{c}`"),
        }
    }

    /// `---` or `...` at the start of a line.
    pub(super) fn at_document_mark(&self) -> bool {
        let c = self.at(0);
        self.mark.column == 0 && matches!(c, '-' | '.') && self.at(1) == c && self.at(2) == c && is_space(self.at(3))
    }

    fn needs_more(&mut self) -> ScanResult<bool> {
        if self.done {
            return Ok(false);
        }
        if self.tokens.is_empty() {
            return Ok(true);
        }
        // What is at hand may turn out to be a key, before which other tokens go.
        self.drop_stale_keys()?;
        Ok(self.keys.values().any(|key| key.token == self.taken))
    }

    pub(super) fn push(&mut self, kind: TokenKind, start: Mark) {
        self.tokens.push_back(Token { kind, start, end: self.mark });
    }

    fn fetch_more(&mut self) -> ScanResult<()> {
        self.skip_to_token();
        self.drop_stale_keys()?;
        self.unwind_indent(self.mark.column as isize);
        let c = self.at(0);
        let next = self.at(1);
        let block = self.flow_level == 0;
        match c {
            '\0' => self.stream_end(),
            '%' if self.mark.column == 0 => self.directive(),
            '-' | '.' if self.at_document_mark() => {
                self.unwind_indent(-1);
                self.remove_key()?;
                self.allow_simple_key = false;
                let kind = if c == '-' { TokenKind::DocumentStart } else { TokenKind::DocumentEnd };
                self.indicator(kind, 3);
                Ok(())
            }
            '[' => self.flow_start(TokenKind::FlowSequenceStart),
            '{' => self.flow_start(TokenKind::FlowMappingStart),
            ']' => self.flow_end(TokenKind::FlowSequenceEnd),
            '}' => self.flow_end(TokenKind::FlowMappingEnd),
            ',' => {
                self.allow_simple_key = true;
                self.remove_key()?;
                self.indicator(TokenKind::FlowEntry, 1);
                Ok(())
            }
            '-' if is_space(next) => self.block_entry(),
            '?' if is_space(next) => self.complex_key(),
            ':' if !block || is_space(next) => self.value(),
            '*' | '&' => {
                self.save_key()?;
                self.allow_simple_key = false;
                self.anchor(c == '*')
            }
            '!' => {
                self.save_key()?;
                self.allow_simple_key = false;
                self.tag()
            }
            '|' | '>' if block => {
                self.allow_simple_key = true;
                self.remove_key()?;
                let start = self.mark;
                let (text, end) = self.block_scalar(c == '>')?;
                self.tokens.push_back(Token { kind: TokenKind::Scalar { text, plain: false }, start, end });
                Ok(())
            }
            '\'' | '"' => {
                self.save_key()?;
                self.allow_simple_key = false;
                let start = self.mark;
                let text = self.quoted(c)?;
                self.push(TokenKind::Scalar { text, plain: false }, start);
                Ok(())
            }
            _ if starts_plain(c, next, block) => {
                self.save_key()?;
                self.allow_simple_key = false;
                let start = self.mark;
                let (text, end) = self.plain()?;
                self.tokens.push_back(Token { kind: TokenKind::Scalar { text, plain: true }, start, end });
                Ok(())
            }
            _ => self.fault(self.mark, format!("{} cannot start a value here", self.found())),
        }
    }

    fn indicator(&mut self, kind: TokenKind, length: usize) {
        let start = self.mark;
        self.forward(length);
        self.push(kind, start);
    }

    fn drop_stale_keys(&mut self) -> ScanResult<()> {
        let (line, index) = (self.mark.line, self.mark.index);
        let stale = |key: &SimpleKey| key.mark.line != line || index - key.mark.index > LONGEST_KEY;
        if let Some(key) = self.keys.values().find(|key| stale(key) && key.required) {
            return self.fault(key.mark, "a `:` is missing after the key");
        }
        self.keys.retain(|_, key| !stale(key));
        Ok(())
    }

    fn save_key(&mut self) -> ScanResult<()> {
        let required = self.flow_level == 0 && self.indent == self.mark.column as isize;
        if self.allow_simple_key {
            self.remove_key()?;
            let key = SimpleKey { token: self.taken + self.tokens.len(), required, mark: self.mark };
            self.keys.insert(self.flow_level, key);
        }
        Ok(())
    }

    pub(super) fn remove_key(&mut self) -> ScanResult<()> {
        match self.keys.remove(&self.flow_level) {
            Some(key) if key.required => self.fault(key.mark, "a `:` is missing after the key"),
            _ => Ok(()),
        }
    }

    pub(super) fn unwind_indent(&mut self, column: isize) {
        // Indentation does not count inside brackets.
        if self.flow_level > 0 {
            return;
        }
        while self.indent > column {
            self.indent = self.indents.pop().unwrap_or(-1);
            self.push(TokenKind::BlockEnd, self.mark);
        }
    }

    fn add_indent(&mut self, column: isize) -> bool {
        if self.indent < column {
            self.indents.push(self.indent);
            self.indent = column;
            return true;
        }
        false
    }

    fn stream_end(&mut self) -> ScanResult<()> {
        self.unwind_indent(-1);
        self.remove_key()?;
        self.allow_simple_key = false;
        self.keys.clear();
        self.push(TokenKind::StreamEnd, self.mark);
        self.done = true;
        Ok(())
    }

    fn flow_start(&mut self, kind: TokenKind) -> ScanResult<()> {
        self.save_key()?;
        self.flow_level += 1;
        self.allow_simple_key = true;
        self.indicator(kind, 1);
        Ok(())
    }

    fn flow_end(&mut self, kind: TokenKind) -> ScanResult<()> {
        self.remove_key()?;
        self.flow_level = self.flow_level.saturating_sub(1);
        self.allow_simple_key = false;
        self.indicator(kind, 1);
        Ok(())
    }

    fn block_entry(&mut self) -> ScanResult<()> {
        if self.flow_level == 0 {
            if !self.allow_simple_key {
                return self.fault(self.mark, "a list item cannot stand here");
            }
            if self.add_indent(self.mark.column as isize) {
                self.push(TokenKind::BlockSequenceStart, self.mark);
            }
        }
        self.allow_simple_key = true;
        self.remove_key()?;
        self.indicator(TokenKind::BlockEntry, 1);
        Ok(())
    }

    fn complex_key(&mut self) -> ScanResult<()> {
        if self.flow_level == 0 {
            if !self.allow_simple_key {
                return self.fault(self.mark, "a key cannot stand here");
            }
            if self.add_indent(self.mark.column as isize) {
                self.push(TokenKind::BlockMappingStart, self.mark);
            }
        }
        self.allow_simple_key = self.flow_level == 0;
        self.remove_key()?;
        self.indicator(TokenKind::Key, 1);
        Ok(())
    }

    fn value(&mut self) -> ScanResult<()> {
        if let Some(key) = self.keys.remove(&self.flow_level) {
            let place = key.token - self.taken;
            let at = |kind| Token { kind, start: key.mark, end: key.mark };
            self.tokens.insert(place, at(TokenKind::Key));
            if self.flow_level == 0 && self.add_indent(key.mark.column as isize) {
                self.tokens.insert(place, at(TokenKind::BlockMappingStart));
            }
            self.allow_simple_key = false;
        } else {
            if self.flow_level == 0 {
                if !self.allow_simple_key {
                    return self.fault(self.mark, "a `:` cannot stand here; put the text in quotes if it is one value");
                }
                if self.add_indent(self.mark.column as isize) {
                    self.push(TokenKind::BlockMappingStart, self.mark);
                }
            }
            self.allow_simple_key = self.flow_level == 0;
            self.remove_key()?;
        }
        self.indicator(TokenKind::Value, 1);
        Ok(())
    }

    fn skip_to_token(&mut self) {
        if self.mark.index == 0 && self.at(0) == '\u{feff}' {
            self.forward(1);
        }
        loop {
            // As libyaml: a tab may stand between tokens, but not where indentation counts.
            while self.at(0) == ' ' || (self.at(0) == '\t' && (self.flow_level > 0 || !self.allow_simple_key)) {
                self.forward(1);
            }
            if self.at(0) == '#' {
                self.skip_line();
            }
            if self.line_break().is_none() {
                return;
            }
            if self.flow_level == 0 {
                self.allow_simple_key = true;
            }
        }
    }

    /// Goes to the end of the line.
    pub(super) fn skip_line(&mut self) {
        while !is_break(self.at(0)) {
            self.forward(1);
        }
    }

    /// Takes a line break; `\r\n`, `\r` and NEL count as `\n`.
    pub(super) fn line_break(&mut self) -> Option<char> {
        match self.at(0) {
            '\r' if self.at(1) == '\n' => {
                self.forward(2);
                Some('\n')
            }
            '\r' | '\n' | '\u{85}' => {
                self.forward(1);
                Some('\n')
            }
            c @ ('\u{2028}' | '\u{2029}') => {
                self.forward(1);
                Some(c)
            }
            _ => None,
        }
    }
}

/// Whether unquoted text can start with `c`.
fn starts_plain(c: char, next: char, block: bool) -> bool {
    let indicator = "-?:,[]{}#&*!|>'\"%@`".contains(c);
    (!is_space(c) && !indicator) || (!is_space(next) && (matches!(c, '-' | '?') || (block && c == ':')))
}
