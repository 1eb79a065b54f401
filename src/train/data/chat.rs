//! Finds the tokens of a conversation that the assistant wrote, for any chat template.
//!
//! No marks in the template are needed. The conversation is rendered once as a whole, and that text
//! is what is read. A turn of the assistant **begins** where the template's own prompt for it ends:
//! the messages before, rendered with `add_generation_prompt`, which have to be how the whole text
//! starts. What it says **ends** where the whole text and one with something else in this turn's
//! place begin to agree to their end. After it the end of the turn is trained as well: all up to the
//! first special token (`<|im_end|>`, `</s>`), if nothing but white space comes before it. A template
//! that ends turns in plain text (`\n`), as a short trial shows, has that text trained, and EOS after
//! the last turn. What ends a turn in the middle of a conversation is tried apart ([`super::ending`]), so
//! that the token with which the next speaker begins never carries loss.
//!
//! Defaults that a template adds, blanks that it trims and earlier thoughts that it drops are thus as
//! it wants them. What follows the last end of turn (a line break, a second end) is read, not trained.
//! A message, a tool or a call that the template leaves out is an error ([`super::shown`]).

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Map, Value};

use super::content::{Conversation, Turn};
use super::encode::{Encoded, Place};
use super::ending::Ending;
use super::error::DataError;
use super::shown;
use crate::error::Result;
use crate::python::repr::is_space;
use crate::tokenizer::{ChatTemplate, Tokenizer, TokenizerError};

/// Characters of a rendered text that an error shows.
const SHOWN: usize = 40;

/// A chat template, and how it ends a turn.
#[derive(Debug)]
pub(super) struct Chat {
    template: ChatTemplate,
    special: BTreeSet<u32>,
    /// Ending of a turn that another one follows.
    inner: Ending,
    /// Ending of the last turn.
    last: Ending,
    closing: Vec<u32>,
    eos: Option<u32>,
}

pub(super) type Tokens = [(u32, Range<usize>)];

impl Chat {
    /// # Errors
    /// A template that refuses the plainest of conversations.
    pub(crate) fn new(template: ChatTemplate, tokenizer: &Tokenizer) -> Result<Self> {
        let eos = tokenizer.eos().map(|(_, id)| id);
        let special = tokenizer.special_ids();
        let (inner, last) = (Ending::default(), Ending::default());
        let mut chat = Self { template, special, inner, last, closing: Vec::new(), eos };
        let probe = Conversation::of(vec![Turn::new("user", "a"), Turn::new("assistant", "b")]);
        let whole = chat.render(&probe, probe.turns.len(), false)?;
        let tokens = tokenizer.encode_with_offsets(&whole)?;
        let end = chat.content_end(&probe, 1, &whole, 0)?;
        let after = tokens.iter().position(|(_, range)| range.start >= end).unwrap_or(tokens.len());
        let closed = chat.special_after(&whole, &tokens, end);
        chat.last = Ending::of_last(&whole, &tokens, end, closed);
        chat.inner = chat.inner_ending(probe, whole.get(end..).unwrap_or(""), tokenizer)?;
        // Nothing where the special token comes before the first token of the rest.
        let trained = tokens.get(after..closed.unwrap_or(tokens.len())).unwrap_or(&[]);
        chat.closing = trained.iter().map(|(id, _)| *id).collect();
        if closed.is_none() {
            chat.closing.extend(eos);
        }
        Ok(chat)
    }

    /// Finds the ending of a turn that a message of the user follows; that of the last one where the
    /// template has no such conversation.
    fn inner_ending(&self, mut probe: Conversation, rest_of_last: &str, tokenizer: &Tokenizer) -> Result<Ending> {
        probe.turns.push(Turn::new("user", "c"));
        let Ok(whole) = self.render(&probe, probe.turns.len(), false) else { return Ok(self.last.clone()) };
        let tokens = tokenizer.encode_with_offsets(&whole)?;
        let end = self.content_end(&probe, 1, &whole, 0)?;
        let closed = self.special_after(&whole, &tokens, end);
        Ok(Ending::of_inner(&whole, &tokens, end, closed, rest_of_last))
    }

    /// The template alone.
    pub(crate) fn into_template(self) -> ChatTemplate {
        self.template
    }

    pub(crate) fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The tokens that end a turn of the assistant.
    pub(crate) fn closing(&self) -> &[u32] {
        &self.closing
    }

    /// The first `count` messages as the template shows them.
    pub(crate) fn render(
        &self,
        conversation: &Conversation,
        count: usize,
        prompt: bool,
    ) -> Result<String, TokenizerError> {
        let messages: Vec<Map<String, Value>> =
            conversation.turns.iter().take(count).map(|turn| turn.message.clone()).collect();
        self.template.render_messages(&messages, &conversation.variables, prompt)
    }

    /// The tokens of a conversation and which of them carry loss.
    pub(crate) fn encode(
        &self,
        conversation: &Conversation,
        tokenizer: &Tokenizer,
        place: Place<'_>,
    ) -> Result<Encoded, DataError> {
        let fault = |source| place.tokenizer_fault(source);
        let conversation = &*shown::as_the_template_reads_it(self, conversation);
        let turns = &conversation.turns;
        let whole = self.render(conversation, turns.len(), false).map_err(fault)?;
        shown::check(self, conversation, &whole, place)?;
        let tokens = tokenizer.encode_with_offsets(&whole).map_err(fault)?;
        let mut trained = vec![false; tokens.len()];
        let mut unclosed = false;
        for (turn, _) in turns.iter().enumerate().filter(|(_, turn)| turn.trained && turn.role() == "assistant") {
            let opened = self.render(conversation, turn, true).map_err(fault)?;
            if !whole.starts_with(&opened) {
                return Err(differs(&whole, &opened, turn, place));
            }
            let is_last = turn + 1 == turns.len();
            let ending = if is_last { &self.last } else { &self.inner };
            let end = self.content_end(conversation, turn, &whole, opened.len()).map_err(fault)?;
            let closed = self.special_after(&whole, &tokens, end);
            let closed = closed.filter(|closed| is_last || ending.closes_with(&tokens, *closed));
            let closed = closed.filter(|_| ending.is_special());
            unclosed = is_last && closed.is_none();
            // A template may write more before a turn than it writes of the whole: nothing is left to show then.
            let text_end = end + ending.shown(whole.get(end..).unwrap_or(""));
            for (place, (id, range)) in tokens.iter().enumerate() {
                // A word takes the blank before it along.
                let begun = blank(&whole, range.start..opened.len())
                    && (range.end > opened.len() || range.start >= opened.len());
                let inside = match closed {
                    Some(closed) => place < closed,
                    // A word that goes on into what the next speaker says is not of this turn.
                    None => range.start < text_end && (self.special.contains(id) || blank(&whole, text_end..range.end)),
                };
                if let Some(trained) = trained.get_mut(place).filter(|_| begun && inside) {
                    *trained = true;
                }
            }
        }
        let mut ids: Vec<u32> = tokens.into_iter().map(|(id, _)| id).collect();
        if let (true, Some(eos)) = (unclosed, self.eos) {
            ids.push(eos);
            trained.push(true);
        }
        Ok(Encoded { tokens: ids, trained })
    }

    /// Finds the end of a message's content in the whole text: other content in its place changes
    /// nothing from there on.
    fn content_end(
        &self,
        conversation: &Conversation,
        turn: usize,
        whole: &str,
        start: usize,
    ) -> Result<usize, TokenizerError> {
        let Some(found) = conversation.turns.get(turn) else { return Ok(whole.len()) };
        // Its end has to differ from the content's, trimmed or not; what a call ends in is not known.
        let plain = found.content().filter(|_| !found.message.contains_key("tool_calls"));
        let last = plain.map(|content| content.trim_end_matches(is_space).chars().next_back());
        let others: &[&str] = match last {
            Some(Some('0')) => &["1"],
            Some(_) => &["0"],
            None => &["0", "1"],
        };
        let mut end = start;
        for other in others {
            let mut changed = conversation.clone();
            if let Some(message) = changed.turns.get_mut(turn) {
                if plain.is_some() {
                    message.set_content(*other);
                } else {
                    *message = Turn::new("assistant", *other);
                }
            }
            let other = match self.render(&changed, changed.turns.len(), false) {
                Ok(other) => other,
                // Answers of tools may have to follow a call.
                Err(_) if plain.is_none() => return self.turn_end(conversation, turn, whole),
                Err(error) => return Err(error),
            };
            let pairs = whole.chars().rev().zip(other.chars().rev());
            let common: usize = pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
            end = end.max(whole.len() - common);
        }
        Ok(end)
    }

    /// Finds the end of a turn's content in the text that ends with this turn: it precedes the turn's ending.
    fn turn_end(&self, conversation: &Conversation, turn: usize, whole: &str) -> Result<usize, TokenizerError> {
        let upto = self.render(conversation, turn + 1, false)?;
        let common: usize =
            whole.chars().zip(upto.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
        let text = &whole[..common];
        let ending = [self.inner.text(), self.last.text()].into_iter().find(|text_end| text.ends_with(text_end));
        Ok(common - ending.map_or(0, str::len))
    }

    /// The place after the first special token that follows, if only white space comes before it.
    fn special_after(&self, whole: &str, tokens: &Tokens, end: usize) -> Option<usize> {
        let after = tokens.iter().enumerate().skip_while(|(_, (_, range))| range.start < end);
        for (place, (id, range)) in after {
            if self.special.contains(id) {
                return Some(place + 1);
            }
            if !blank(whole, range.clone()) {
                return None;
            }
        }
        None
    }
}

/// Whether a part of a text is white space or nothing.
fn blank(text: &str, range: Range<usize>) -> bool {
    range.is_empty() || text.get(range).is_none_or(|part| part.chars().all(is_space))
}

/// The error of a turn that is opened otherwise than shown, with the texts where they part.
fn differs(whole: &str, opened: &str, turn: usize, place: Place<'_>) -> DataError {
    let same = whole.chars().zip(opened.chars()).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(SHOWN / 2);
    let part = |text: &str| text.chars().skip(from).take(SHOWN).collect::<String>();
    DataError::NotPrefix {
        origin: place.origin.to_owned(),
        row: place.row,
        turn: turn + 1,
        opened: part(opened),
        shown: part(whole),
    }
}
