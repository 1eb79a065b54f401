//! Python's grammar of regular expressions, and the same pattern for the engine.
//!
//! The translation says everything outright: `^`, `$`, `.` and classes do not depend on flags, groups
//! have numbers only, literals are escaped. Only `(?i:...)` is left to the engine.

use super::PatternError;

/// Groups may not be nested deeper: parsing recurses.
const MOST_NESTED: usize = 100;
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
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_all: bool,
    verbose: bool,
    ascii: bool,
}

/// Least and most characters that a part matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Width {
    least: u64,
    most: u64,
}

impl Width {
    const NONE: Self = Self { least: 0, most: 0 };
    const ONE: Self = Self { least: 1, most: 1 };

    fn then(self, next: Self) -> Self {
        Self { least: self.least.saturating_add(next.least), most: self.most.saturating_add(next.most) }
    }

    fn or(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }

    fn times(self, least: u64, most: u64) -> Self {
        Self { least: self.least.saturating_mul(least), most: self.most.saturating_mul(most) }
    }
}

/// What a quantifier may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Previous {
    /// Nothing, or a place: `nothing to repeat`.
    Nothing,
    Item,
    Repeated,
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    out: String,
    /// By group number; nothing while a group is open. Group 0 is never closed.
    widths: Vec<Option<Width>>,
    names: Vec<(String, usize)>,
    line_break: bool,
    words: bool,
    has_line_end: bool,
    has_word_boundary: bool,
    /// Groups that conditions ask for, with their places: they may come later.
    conditions: Vec<(usize, usize)>,
}

const WORD: &str = r"\p{L}\p{N}_";
const SPACE: &str = r"\s\x1c-\x1f";
const ASCII_WORD: &str = "A-Za-z0-9_";
const ASCII_SPACE: &str = r" \t\n\r\x0c\x0b";

impl Parser {
    fn fault_at(&self, reason: &str, position: usize) -> PatternError {
        PatternError { reason: reason.to_owned(), position }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Flags for the whole pattern, which Python takes at its start only.
    fn global_flags(&mut self) -> Result<Flags, PatternError> {
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

    fn set_flag(&self, flags: &mut Flags, letter: char, on: bool, at: usize) -> Result<(), PatternError> {
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

    fn alternatives(&mut self, flags: Flags, depth: usize) -> Result<Width, PatternError> {
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

    fn skip_blanks(&mut self, flags: Flags) {
        while flags.verbose {
            match self.peek() {
                Some(c) if " \t\n\r\u{b}\u{c}".contains(c) => self.at += 1,
                Some('#') => while self.next().is_some_and(|c| c != '\n') {},
                _ => return,
            }
        }
    }

    fn sequence(&mut self, flags: Flags, depth: usize) -> Result<Width, PatternError> {
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

    fn line_end(&mut self, flags: Flags) {
        self.has_line_end |= !flags.multi_line;
        self.out.push_str(match (flags.multi_line, self.line_break) {
            (true, _) => "(?m:$)",
            (false, false) => r"\z",
            (false, true) => r"(?=\n?\z)",
        });
    }

    /// A quantifier's bounds, where one stands. A brace that is none is a literal, which is left.
    fn quantifier(&mut self) -> Result<Option<(u64, Option<u64>)>, PatternError> {
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

    fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
        digits
    }

    fn literal(&mut self, c: char) {
        // `<` and `>` mean something to the engine when they are escaped.
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// A group after its parenthesis; nothing for a comment.
    fn group(&mut self, flags: Flags, depth: usize, start: usize) -> Result<Option<Width>, PatternError> {
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

    fn wrapped(&mut self, open: &str, flags: Flags, depth: usize, start: usize) -> Result<Width, PatternError> {
        self.out.push_str(open);
        let width = self.alternatives(flags, depth + 1)?;
        self.close(start)?;
        Ok(width)
    }

    fn close(&mut self, start: usize) -> Result<(), PatternError> {
        if !self.accept(')') {
            return Err(self.fault_at("missing ), unterminated subpattern", start));
        }
        self.out.push(')');
        Ok(())
    }

    fn capture(
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
    fn name(&mut self, terminator: char) -> Result<String, PatternError> {
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

    fn reference(&mut self, number: usize, start: usize) -> Result<Width, PatternError> {
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
    fn conditional(&mut self, flags: Flags, depth: usize, start: usize) -> Result<Width, PatternError> {
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
    fn scoped_flags(&mut self, flags: Flags, depth: usize, start: usize) -> Result<Width, PatternError> {
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

    /// What follows a backslash outside a class; nothing for a place.
    fn escape(&mut self, flags: Flags, start: usize) -> Result<Option<Width>, PatternError> {
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

    fn word_boundary(&mut self, flags: Flags, is_boundary: bool) {
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
    fn number(&mut self, first: char, start: usize) -> Result<Width, PatternError> {
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
    fn escaped_literal(&mut self, c: char, start: usize) -> Result<char, PatternError> {
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
    fn class(&mut self, flags: Flags, start: usize) -> Result<(), PatternError> {
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
    fn class_item(&mut self, c: char, flags: Flags, place: usize) -> Result<Option<char>, PatternError> {
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
                let mut code = c.to_digit(8).unwrap_or_default();
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

    fn class_literal(&mut self, c: Option<char>) {
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
