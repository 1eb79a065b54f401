//! Python's grammar of regular expressions, and the same pattern for the engine.
//!
//! The translation says everything outright: `^`, `$`, `.` and classes do not depend on flags, groups
//! have numbers only, literals are escaped. Only `(?i:...)` is left to the engine.

use super::error::PatternError;

/// Groups may not be nested deeper: parsing recurses.
pub(super) const MOST_NESTED: usize = 100;
/// Longer patterns are refused before they are parsed.
const MOST_CHARACTERS: usize = 50_000;
/// Repetitions beyond this are refused: the engine unrolls them.
const MOST_REPEATED: u64 = 100_000;

/// A translated pattern.
pub(super) struct Translation {
    pub(super) text: String,
    /// Named groups and their numbers.
    pub(super) names: Vec<(String, usize)>,
    /// The whole match among them.
    pub(super) groups: usize,
    /// There is a `$` outside multi-line mode.
    pub(super) has_line_end: bool,
    /// There is a `\b` or `\B` outside ASCII mode.
    pub(super) has_word_boundary: bool,
    pub(super) may_be_empty: bool,
}

/// Translates; `line_break` for texts that end in one, `words` for texts that are not all ASCII.
pub(super) fn translate(pattern: &str, line_break: bool, words: bool) -> Result<Translation, PatternError> {
    let chars: Vec<char> = pattern.chars().collect();
    if chars.len() > MOST_CHARACTERS {
        return Err(PatternError { reason: "the pattern is too long".to_owned(), position: MOST_CHARACTERS });
    }
    let mut parser = Parser {
        chars,
        at: 0,
        out: String::new(),
        widths: vec![None],
        names: Vec::new(),
        line_break,
        words,
        has_line_end: false,
        has_word_boundary: false,
        conditions: Vec::new(),
    };
    let flags = parser.global_flags()?;
    let width = parser.alternatives(flags, 0)?;
    if parser.at < parser.chars.len() {
        return Err(parser.fault_at("unbalanced parenthesis", parser.at));
    }
    if let Some((_, at)) = parser.conditions.iter().find(|(group, _)| *group >= parser.widths.len()) {
        return Err(parser.fault_at("invalid group reference", *at));
    }
    let text = if flags.ignore_case { format!("(?i:{})", parser.out) } else { parser.out };
    Ok(Translation {
        text,
        names: parser.names,
        groups: parser.widths.len(),
        has_line_end: parser.has_line_end,
        has_word_boundary: parser.has_word_boundary,
        may_be_empty: width.least == 0,
    })
}

#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of Python's")]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) multi_line: bool,
    pub(super) dot_all: bool,
    pub(super) verbose: bool,
    pub(super) ascii: bool,
}

/// Least and most characters that a part matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Width {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Width {
    pub(super) const NONE: Self = Self { least: 0, most: 0 };
    pub(super) const ONE: Self = Self { least: 1, most: 1 };

    fn then(self, next: Self) -> Self {
        Self { least: self.least.saturating_add(next.least), most: self.most.saturating_add(next.most) }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }

    fn times(self, least: u64, most: u64) -> Self {
        Self { least: self.least.saturating_mul(least), most: self.most.saturating_mul(most) }
    }
}

/// Preceding item, which decides whether a quantifier may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Previous {
    /// Nothing, or a place: `nothing to repeat`.
    Nothing,
    Item,
    Repeated,
}

#[expect(clippy::struct_excessive_bools, reason = "two are asked for, two are found")]
pub(super) struct Parser {
    pub(super) chars: Vec<char>,
    pub(super) at: usize,
    pub(super) out: String,
    /// By group number; nothing while a group is open. Group 0 is never closed.
    pub(super) widths: Vec<Option<Width>>,
    pub(super) names: Vec<(String, usize)>,
    pub(super) line_break: bool,
    pub(super) words: bool,
    pub(super) has_line_end: bool,
    pub(super) has_word_boundary: bool,
    /// Groups that conditions ask for, with their places: they may come later.
    pub(super) conditions: Vec<(usize, usize)>,
}

impl Parser {
    #[expect(clippy::unused_self, reason = "reads as what the parser finds")]
    pub(super) fn fault_at(&self, reason: &str, position: usize) -> PatternError {
        PatternError { reason: reason.to_owned(), position }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    pub(super) fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    pub(super) fn alternatives(&mut self, flags: Flags, depth: usize) -> Result<Width, PatternError> {
        if depth > MOST_NESTED {
            return Err(self.fault_at("groups are nested too deeply", self.at));
        }
        let mut width = self.sequence(flags, depth)?;
        while self.accept('|') {
            self.out.push('|');
            width = width.or(self.sequence(flags, depth)?);
        }
        Ok(width)
    }

    pub(super) fn skip_blanks(&mut self, flags: Flags) {
        if !flags.verbose {
            return;
        }
        loop {
            match self.peek() {
                Some(c) if " \t\n\r\u{b}\u{c}".contains(c) => self.at += 1,
                Some('#') => while self.next().is_some_and(|c| c != '\n') {},
                _ => return,
            }
        }
    }

    pub(super) fn sequence(&mut self, flags: Flags, depth: usize) -> Result<Width, PatternError> {
        let mut whole = Width::NONE;
        let (mut last, mut previous) = (Width::NONE, Previous::Nothing);
        loop {
            self.skip_blanks(flags);
            let start = self.at;
            let Some(c) = self.peek().filter(|c| !"|)".contains(*c)) else { return Ok(whole.then(last)) };
            if let Some((least, most)) = self.quantifier()? {
                match previous {
                    Previous::Nothing => return Err(self.fault_at("nothing to repeat", start)),
                    Previous::Repeated => return Err(self.fault_at("multiple repeat", start)),
                    Previous::Item => {}
                }
                self.out.push_str(&match most {
                    Some(most) => format!("{{{least},{most}}}"),
                    None => format!("{{{least},}}"),
                });
                if self.peek().is_some_and(|c| "?+".contains(c)) {
                    let suffix = self.next();
                    self.out.extend(suffix);
                }
                last = last.times(least, most.unwrap_or(u64::MAX));
                previous = Previous::Repeated;
                continue;
            }
            self.at += 1;
            let item = match c {
                '(' => match self.group(flags, depth, start)? {
                    Some(width) => Some(width),
                    // A comment leaves what stands before it to be repeated.
                    None => continue,
                },
                '[' => {
                    self.class(flags, start)?;
                    Some(Width::ONE)
                }
                '\\' => self.escape(flags, start)?,
                '.' => {
                    self.out.push_str(if flags.dot_all { "(?s:.)" } else { r"[^\n]" });
                    Some(Width::ONE)
                }
                '^' => {
                    self.out.push_str(if flags.multi_line { "(?m:^)" } else { r"\A" });
                    None
                }
                '$' => {
                    self.line_end(flags);
                    None
                }
                _ => {
                    self.literal(c);
                    Some(Width::ONE)
                }
            };
            whole = whole.then(last);
            last = item.unwrap_or(Width::NONE);
            previous = if item.is_some() { Previous::Item } else { Previous::Nothing };
        }
    }

    pub(super) fn line_end(&mut self, flags: Flags) {
        self.has_line_end |= !flags.multi_line;
        self.out.push_str(match (flags.multi_line, self.line_break) {
            (true, _) => "(?m:$)",
            (false, false) => r"\z",
            (false, true) => r"(?=\n?\z)",
        });
    }

    /// A quantifier's bounds, where one stands. A brace that is none is a literal, which is left.
    pub(super) fn quantifier(&mut self) -> Result<Option<(u64, Option<u64>)>, PatternError> {
        let start = self.at;
        match self.next() {
            Some('*') => return Ok(Some((0, None))),
            Some('+') => return Ok(Some((1, None))),
            Some('?') => return Ok(Some((0, Some(1)))),
            Some('{') if self.peek() != Some('}') => {}
            _ => {
                self.at = start;
                return Ok(None);
            }
        }
        let least = self.digits();
        let most = if self.accept(',') { self.digits() } else { least.clone() };
        if !self.accept('}') {
            self.at = start;
            return Ok(None);
        }
        let read = |digits: &str| -> Result<u64, PatternError> {
            let number = digits.parse().ok().filter(|number| *number <= MOST_REPEATED);
            number.ok_or_else(|| self.fault_at("the repetition number is too large", start))
        };
        let least = if least.is_empty() { 0 } else { read(&least)? };
        let most = if most.is_empty() { None } else { Some(read(&most)?) };
        if most.is_some_and(|most| most < least) {
            return Err(self.fault_at("min repeat greater than max repeat", start + 1));
        }
        Ok(Some((least, most)))
    }

    pub(super) fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
        digits
    }

    pub(super) fn literal(&mut self, c: char) {
        // `<` and `>` mean something to the engine when they are escaped.
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            self.out.push('\\');
        }
        self.out.push(c);
    }
}
