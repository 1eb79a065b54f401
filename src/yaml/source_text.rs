//! The text that places refer to.

/// A file's text and its name.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// File name as the user gave it; empty for a text that a command made, which no message quotes.
    pub name: String,
    pub text: String,
}
