//! Tokens of YAML and their places.

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Characters before it.
    pub index: usize,
    /// Line by YAML's line breaks, from 0.
    pub line: usize,
    /// Column after YAML's line breaks, from 0: what indentation is compared with.
    pub column: usize,
    /// Line and column by `\n` alone, from 0: what excerpts are cut from.
    pub shown: (usize, usize),
}

/// Variants of tokens, with their contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    StreamEnd,
    /// Name and arguments of a `%` line.
    Directive(Vec<String>),
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    /// Handle (`!`, `!!`, `!name!`; none for `!<verbatim>`) and suffix.
    Tag(Option<String>, String),
    Scalar {
        text: String,
        plain: bool,
    },
}

impl TokenKind {
    /// The token in words, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::StreamEnd => "the end of the text",
            Self::Directive(_) => "a directive",
            Self::DocumentStart => "`---`",
            Self::DocumentEnd => "`...`",
            Self::BlockSequenceStart | Self::BlockEntry => "`-`",
            Self::BlockMappingStart | Self::Key => "a key",
            Self::BlockEnd => "a line with less indentation",
            Self::FlowSequenceStart => "`[`",
            Self::FlowSequenceEnd => "`]`",
            Self::FlowMappingStart => "`{`",
            Self::FlowMappingEnd => "`}`",
            Self::FlowEntry => "`,`",
            Self::Value => "`:`",
            Self::Alias(_) => "an alias",
            Self::Anchor(_) => "an anchor",
            Self::Tag(..) => "a tag",
            Self::Scalar { .. } => "a scalar",
        }
    }
}

/// A token and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: Mark,
    pub end: Mark,
}

/// A text that is not YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScanError {
    pub message: String,
    pub mark: Mark,
}

pub(super) type ScanResult<T> = Result<T, ScanError>;
