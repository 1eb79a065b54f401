//! Anchors, aliases, tags and directives of YAML.

use super::scanner::{Scanner, is_break, is_space};
use super::token::{ScanResult, TokenKind};

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

impl Scanner {
    pub(super) fn directive(&mut self) -> ScanResult<()> {
        self.unwind_indent(-1);
        self.remove_key()?;
        self.allow_simple_key = false;
        let start = self.mark;
        self.forward(1);
        let mut words = String::new();
        while !is_break(self.at(0)) && self.at(0) != '#' {
            words.push(self.at(0));
            self.forward(1);
        }
        self.skip_line();
        let words = words.split_whitespace().map(str::to_owned).collect();
        self.push(TokenKind::Directive(words), start);
        Ok(())
    }

    pub(super) fn anchor(&mut self, alias: bool) -> ScanResult<()> {
        let start = self.mark;
        self.forward(1);
        let mut length = 0;
        while is_word(self.at(length)) {
            length += 1;
        }
        let name = self.take(length);
        let c = self.at(0);
        let ends = is_space(c) || matches!(c, '?' | ':' | ',' | ']' | '}' | '%' | '@' | '`');
        if name.is_empty() || !ends {
            let what = if alias { "alias" } else { "anchor" };
            return self.fault(start, format!("an {what} is a word of letters, digits, `-` and `_`"));
        }
        self.push(if alias { TokenKind::Alias(name) } else { TokenKind::Anchor(name) }, start);
        Ok(())
    }

    pub(super) fn tag(&mut self) -> ScanResult<()> {
        let start = self.mark;
        let uri = |c: char| c.is_ascii_alphanumeric() || "-;/?:@&=+$,_.!~*'()[]%".contains(c);
        let (handle, suffix) = if self.at(1) == '<' {
            self.forward(2);
            let mut length = 0;
            while uri(self.at(length)) {
                length += 1;
            }
            let suffix = self.take(length);
            if self.at(0) != '>' || suffix.is_empty() {
                return self.fault(start, "a verbatim tag is written `!<...>`");
            }
            self.forward(1);
            (None, suffix)
        } else {
            let mut length = 1;
            while is_word(self.at(length)) {
                length += 1;
            }
            // `!!name` and `!handle!name`, else `!name`.
            let named = self.at(length) == '!';
            let handle = if named { self.take(length + 1) } else { self.take(1) };
            let mut length = 0;
            while uri(self.at(length)) {
                length += 1;
            }
            let suffix = self.take(length);
            if named && suffix.is_empty() {
                return self.fault(start, "a tag is missing after its handle");
            }
            (Some(handle), suffix)
        };
        if !is_space(self.at(0)) {
            return self.fault(self.mark, format!("{} cannot stand in a tag", self.found()));
        }
        self.push(TokenKind::Tag(handle, suffix), start);
        Ok(())
    }
}
