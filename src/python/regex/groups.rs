//! Groups of Python's grammar: captures, look-around, references, conditions and flags.

use super::error::PatternError;
use super::translate::{Flags, MOST_NESTED, Parser, Width};

impl Parser {
    /// Flags for the whole pattern, which Python takes at its start only.
    pub(super) fn global_flags(&mut self) -> Result<Flags, PatternError> {
        let mut flags = Flags::default();
        loop {
            let start = self.at;
            if !(self.accept('(') && self.accept('?')) {
                self.at = start;
                return Ok(flags);
            }
            let mut letters = Vec::new();
            while let Some(letter) = self.peek().filter(char::is_ascii_alphabetic) {
                letters.push(letter);
                self.at += 1;
            }
            if letters.is_empty() || !self.accept(')') || letters[0] == 'P' {
                self.at = start;
                return Ok(flags);
            }
            for letter in letters {
                self.set_flag(&mut flags, letter, true, start)?;
            }
        }
    }

    pub(super) fn set_flag(&self, flags: &mut Flags, letter: char, on: bool, at: usize) -> Result<(), PatternError> {
        match letter {
            'i' => flags.ignore_case = on,
            'm' => flags.multi_line = on,
            's' => flags.dot_all = on,
            'x' => flags.verbose = on,
            'a' if on => flags.ascii = true,
            'u' if on => flags.ascii = false,
            'L' => return Err(self.fault_at("bad inline flags: cannot use 'L' flag with a str pattern", at)),
            'a' | 'u' => {
                let reason = "bad inline flags: cannot turn off flags 'a', 'u' and 'L'";
                return Err(self.fault_at(reason, at));
            }
            _ => return Err(self.fault_at("unknown flag", at)),
        }
        Ok(())
    }

    /// A group after its parenthesis; nothing for a comment.
    pub(super) fn group(&mut self, flags: Flags, depth: usize, start: usize) -> Result<Option<Width>, PatternError> {
        if !self.accept('?') {
            return self.capture(None, flags, depth, start).map(Some);
        }
        let unknown = |parser: &Self, what: String| parser.fault_at(&format!("unknown extension ?{what}"), start + 1);
        let end = || "unexpected end of pattern";
        match self.next() {
            None => Err(self.fault_at(end(), self.at)),
            Some('P') => match self.next() {
                Some('<') => {
                    let name = self.name('>')?;
                    self.capture(Some(name), flags, depth, start).map(Some)
                }
                Some('=') => {
                    let name = self.name(')')?;
                    let known = self.names.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
                    let number = known.ok_or_else(|| self.fault_at(&format!("unknown group name '{name}'"), start))?;
                    self.reference(number, start).map(Some)
                }
                Some(c) => Err(unknown(self, format!("P{c}"))),
                None => Err(self.fault_at(end(), self.at)),
            },
            Some(':') => self.wrapped("(?:", flags, depth, start).map(Some),
            Some('>') => self.wrapped("(?>", flags, depth, start).map(Some),
            Some('=') => self.wrapped("(?=", flags, depth, start).map(|_| Some(Width::NONE)),
            Some('!') => self.wrapped("(?!", flags, depth, start).map(|_| Some(Width::NONE)),
            Some('#') => loop {
                match self.next() {
                    Some(')') => return Ok(None),
                    Some(_) => {}
                    None => return Err(self.fault_at("missing ), unterminated comment", start)),
                }
            },
            Some('<') => {
                let open = match self.next() {
                    Some('=') => "(?<=",
                    Some('!') => "(?<!",
                    Some(c) => return Err(unknown(self, format!("<{c}"))),
                    None => return Err(self.fault_at(end(), self.at)),
                };
                let width = self.wrapped(open, flags, depth, start)?;
                if width.least != width.most {
                    return Err(self.fault_at("look-behind requires fixed-width pattern", start));
                }
                Ok(Some(Width::NONE))
            }
            Some('(') => self.conditional(flags, depth, start).map(Some),
            Some(c) if c == '-' || c.is_ascii_alphabetic() => {
                self.at -= 1;
                self.scoped_flags(flags, depth, start).map(Some)
            }
            Some(c) => Err(unknown(self, c.to_string())),
        }
    }

    pub(super) fn wrapped(
        &mut self,
        open: &str,
        flags: Flags,
        depth: usize,
        start: usize,
    ) -> Result<Width, PatternError> {
        self.out.push_str(open);
        let width = self.alternatives(flags, depth + 1)?;
        self.close(start)?;
        Ok(width)
    }

    pub(super) fn close(&mut self, start: usize) -> Result<(), PatternError> {
        if !self.accept(')') {
            return Err(self.fault_at("missing ), unterminated subpattern", start));
        }
        self.out.push(')');
        Ok(())
    }

    pub(super) fn capture(
        &mut self,
        name: Option<String>,
        flags: Flags,
        depth: usize,
        start: usize,
    ) -> Result<Width, PatternError> {
        let number = self.widths.len();
        self.widths.push(None);
        if let Some(name) = name {
            if let Some((_, earlier)) = self.names.iter().find(|(known, _)| *known == name) {
                let reason = format!("redefinition of group name '{name}' as group {number}; was group {earlier}");
                return Err(self.fault_at(&reason, start + 4));
            }
            self.names.push((name, number));
        }
        let width = self.wrapped("(", flags, depth, start)?;
        self.widths[number] = Some(width);
        Ok(width)
    }

    /// A group's name up to a terminator.
    pub(super) fn name(&mut self, terminator: char) -> Result<String, PatternError> {
        let start = self.at;
        let mut name = String::new();
        loop {
            match self.next() {
                Some(c) if c == terminator => break,
                Some(c) => name.push(c),
                None => {
                    let reason = format!("missing {terminator}, unterminated name");
                    return Err(self.fault_at(&reason, start));
                }
            }
        }
        let valid = name
            .chars()
            .enumerate()
            .all(|(i, c)| c == '_' || if i == 0 { c.is_alphabetic() } else { c.is_alphanumeric() });
        if name.is_empty() {
            return Err(self.fault_at("missing group name", start));
        }
        if !valid {
            return Err(self.fault_at(&format!("bad character in group name '{name}'"), start));
        }
        Ok(name)
    }

    pub(super) fn reference(&mut self, number: usize, start: usize) -> Result<Width, PatternError> {
        match self.widths.get(number) {
            None => Err(self.fault_at(&format!("invalid group reference {number}"), start + 1)),
            Some(None) => Err(self.fault_at("cannot refer to an open group", start)),
            Some(Some(width)) => {
                // In a group of its own, lest a digit that follows is read with it.
                self.out.push_str(&format!(r"(?:\{number})"));
                Ok(*width)
            }
        }
    }

    /// `(?(group)yes|no)` after its second parenthesis.
    pub(super) fn conditional(&mut self, flags: Flags, depth: usize, start: usize) -> Result<Width, PatternError> {
        let at = self.at;
        let digits = self.digits();
        let number = if digits.is_empty() || self.peek() != Some(')') {
            self.at = at;
            let name = self.name(')')?;
            let known = self.names.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
            known.ok_or_else(|| self.fault_at(&format!("unknown group name '{name}'"), at))?
        } else {
            self.at += 1;
            digits.parse().ok().filter(|number| *number > 0).ok_or_else(|| self.fault_at("bad group number", at))?
        };
        if depth >= MOST_NESTED {
            return Err(self.fault_at("groups are nested too deeply", start));
        }
        self.conditions.push((number, at));
        self.out.push_str(&format!("(?({number})"));
        let yes = self.sequence(flags, depth + 1)?;
        self.out.push('|');
        let no = if self.accept('|') { self.sequence(flags, depth + 1)? } else { Width::NONE };
        if self.peek() == Some('|') {
            return Err(self.fault_at("conditional backref with more than two branches", self.at));
        }
        self.close(start)?;
        Ok(yes.or(no))
    }

    /// `(?i-s:...)` after its question mark.
    pub(super) fn scoped_flags(&mut self, flags: Flags, depth: usize, start: usize) -> Result<Width, PatternError> {
        let (mut inner, mut on, mut seen) = (flags, true, false);
        loop {
            match self.next() {
                Some(':') if seen => break,
                Some('-') if on => (on, seen) = (false, false),
                Some(')') if on => {
                    let reason = "global flags not at the start of the expression";
                    return Err(self.fault_at(reason, start));
                }
                Some(letter) if letter.is_ascii_alphabetic() => {
                    self.set_flag(&mut inner, letter, on, start)?;
                    seen = true;
                }
                Some(_) if !seen => return Err(self.fault_at("missing flag", self.at - 1)),
                _ => return Err(self.fault_at("missing :", self.at.saturating_sub(1))),
            }
        }
        let open = match (flags.ignore_case, inner.ignore_case) {
            (false, true) => "(?i:",
            (true, false) => "(?-i:",
            _ => "(?:",
        };
        self.wrapped(open, inner, depth, start)
    }
}
