//! Ending of the assistant's turns under a chat template.

use super::chat::Tokens;
use crate::python::repr::is_space;

/// Text after an answer that still belongs to its turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    /// The special token that ends the turn, if one does.
    special: Option<u32>,
    text: String,
}

impl Ending {
    /// That of a conversation's last turn: up to the special token (`closed` is the place after it), or all
    /// that follows the answer.
    pub(crate) fn of_last(whole: &str, tokens: &Tokens, end: usize, closed: Option<usize>) -> Self {
        let rest = whole.get(end..).unwrap_or("");
        match closed.and_then(|closed| tokens.get(closed - 1)) {
            Some((id, range)) => {
                Self { special: Some(*id), text: whole.get(end..range.end).map_or_else(String::new, str::to_owned) }
            }
            None => Self { special: None, text: rest.to_owned() },
        }
    }

    /// That of a turn before another one: what stands there whether another turn follows or none, as
    /// `rest_of_last` has it. What the next speaker begins with is none of it.
    pub(crate) fn of_inner(
        whole: &str,
        tokens: &Tokens,
        end: usize,
        closed: Option<usize>,
        rest_of_last: &str,
    ) -> Self {
        let rest = whole.get(end..).unwrap_or("");
        let same = rest.chars().zip(rest_of_last.chars()).take_while(|(a, b)| a == b);
        let common: usize = same.map(|(a, _)| a.len_utf8()).sum();
        if let Some((id, range)) = closed.and_then(|closed| tokens.get(closed - 1))
            && range.end <= end + common
        {
            return Self {
                special: Some(*id),
                text: whole.get(end..range.end).map_or_else(String::new, str::to_owned),
            };
        }
        let shared = &rest[..common];
        // Where the last turn goes on otherwise, the next speaker's mark may begin with the same characters.
        let text = if common == rest_of_last.len() {
            shared
        } else {
            let blanks = shared.len() - shared.trim_start_matches(is_space).len();
            &shared[..blanks]
        };
        Self { special: None, text: text.to_owned() }
    }

    pub(crate) fn is_special(&self) -> bool {
        self.special.is_some()
    }

    /// Whether the token before a place is the one that ends a turn.
    pub(crate) fn closes_with(&self, tokens: &Tokens, closed: usize) -> bool {
        closed.checked_sub(1).and_then(|place| tokens.get(place)).map(|(id, _)| *id) == self.special
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Bytes of the plain text that ends the turn, where `rest` begins with it.
    pub(crate) fn shown(&self, rest: &str) -> usize {
        if self.special.is_none() && rest.starts_with(&self.text) { self.text.len() } else { 0 }
    }
}
