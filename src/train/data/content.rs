//! What a row says is to be learnt, before it is tokens.

use crate::tokenizer::Message;

/// What is to be learnt of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A completion of a prompt.
    Pair { prompt: String, completion: String, closing: Closing },
    /// What the assistant says, from a message on.
    Chat { messages: Vec<Message>, trained_from: usize },
    /// All of a text.
    Text(String),
    /// What the file itself marks.
    Tokens { tokens: Vec<u32>, trained: Vec<bool> },
}

/// How a completion ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// With the EOS token.
    Eos,
    /// As the chat template ends the assistant's turn.
    Turn,
}
