//! A YAML tree whose nodes remember where they stand.
//!
//! Scalars stay text until someone asks for a type, because the same word means different things:
//! `no` is a boolean to PyYAML (YAML 1.1) and a string to YAML 1.2, `1e-5` the other way round.

/// A place in the text: line and column count from 1, the length is in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// Length on that line, in characters; 0 marks one character.
    pub length: usize,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// Parsed value.
    pub value: T,
    pub span: Span,
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Span,
    pub kind: Kind,
}

/// Kind of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// Any other scalar.
    Scalar {
        /// Text, unquoted.
        text: String,
        /// Whether it was written with quotes or as a block.
        quoted: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in order of writing.
    Mapping(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// Describes the kind, for messages.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Scalar { .. } => "a scalar",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }

    /// The text of a scalar.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// A scalar's value as a boolean: YAML 1.1's words in any usual case, and 0 and 1.
#[must_use]
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "t" | "1" | "1.0" => Some(true),
        "false" | "no" | "off" | "n" | "f" | "0" | "0.0" => Some(false),
        _ => None,
    }
}

/// A scalar's value as a number, quoted or not: PyYAML's and Python's spellings.
#[must_use]
pub(crate) fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match digits.to_ascii_lowercase().as_str() {
        ".inf" | "inf" | "infinity" => return Some(sign * f64::INFINITY),
        ".nan" | "nan" => return Some(f64::NAN),
        "true" => return Some(1.0),
        "false" => return Some(0.0),
        _ => {}
    }
    if let Some(hex) = digits.strip_prefix("0x") {
        return u64::from_str_radix(&hex.replace('_', ""), 16).ok().map(|n| sign * n as f64);
    }
    let first = *digits.as_bytes().first()?;
    let numeric = first.is_ascii_digit() || first == b'.';
    if !numeric || digits.ends_with('_') {
        return None;
    }
    digits.replace('_', "").parse::<f64>().ok().map(|n| sign * n)
}
