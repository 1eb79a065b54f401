//! Which tokens of a conversation the assistant wrote, for any chat template.
//!
//! No marks in the template are needed. The conversation is rendered once as a whole, and that text
//! is what is read. A turn of the assistant **begins** where the template's own prompt for it ends:
//! the messages before, rendered with `add_generation_prompt`, which have to be how the whole text
//! starts. What it says **ends** where the whole text and one with something else in this turn's
//! place begin to agree to their end. After it the end of the turn is trained as well: all up to the
//! first special token (`<|im_end|>`, `</s>`), if nothing but white space comes before it. A template
//! that ends turns in plain text (`\n`), as a short trial shows, has that text trained, and EOS after
//! the last turn.
//!
//! Defaults that a template adds, blanks that it trims and earlier thoughts that it drops are thus as
//! it wants them. What follows the last end of turn (a line break, a second end) is read, not trained.

use std::collections::BTreeSet;
use std::ops::Range;

use super::encode::{Encoded, Place};
use super::error::DataError;
use crate::error::Result;
use crate::jinja::python::is_space;
use crate::tokenizer::{ChatTemplate, Message, Tokenizer, TokenizerError};

/// Characters of a rendered text that an error shows.
const SHOWN: usize = 40;

/// A chat template, and how it ends a turn.
#[derive(Debug)]
pub(super) struct Chat {
    template: ChatTemplate,
    special: BTreeSet<u32>,
    /// Whether a turn ends with a special token.
    closes_specially: bool,
    /// The end of a turn otherwise.
    closing_text: String,
    closing: Vec<u32>,
    eos: Option<u32>,
}

type Tokens = [(u32, Range<usize>)];

impl Chat {
    /// # Errors
    /// A template that refuses the plainest of conversations.
    pub fn new(template: ChatTemplate, tokenizer: &Tokenizer) -> Result<Self> {
        let eos = tokenizer.eos().map(|(_, id)| id);
        let special = tokenizer.special_ids();
        let (closing_text, closing) = (String::new(), Vec::new());
        let mut chat = Self { template, special, closes_specially: true, closing_text, closing, eos };
        let probe = [Message::new("user", "a"), Message::new("assistant", "b")];
        let whole = chat.template.render(&probe, false, false)?;
        let tokens = tokenizer.encode_with_offsets(&whole)?;
        let end = chat.content_end(&probe, 1, &whole, 0)?;
        let after = tokens.iter().position(|(_, range)| range.start >= end).unwrap_or(tokens.len());
        let closed = chat.special_after(&whole, &tokens, end);
        if closed.is_none() {
            chat.closes_specially = false;
            whole.get(end..).unwrap_or_default().clone_into(&mut chat.closing_text);
        }
        let trained = tokens.get(after..closed.unwrap_or(tokens.len())).unwrap_or_default();
        chat.closing = trained.iter().map(|(id, _)| *id).collect();
        if closed.is_none() {
            chat.closing.extend(eos);
        }
        Ok(chat)
    }

    /// The template alone.
    pub fn into_template(self) -> ChatTemplate {
        self.template
    }

    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The tokens that end a turn of the assistant.
    pub fn closing(&self) -> &[u32] {
        &self.closing
    }

    /// The tokens of a conversation; those of the assistant's turns from `trained_from` on carry loss.
    pub fn encode(
        &self,
        messages: &[Message],
        trained_from: usize,
        tokenizer: &Tokenizer,
        place: Place<'_>,
    ) -> Result<Encoded, DataError> {
        let fault = |source| place.tokenizer_fault(source);
        let whole = self.template.render(messages, false, false).map_err(fault)?;
        let tokens = tokenizer.encode_with_offsets(&whole).map_err(fault)?;
        let mut trained = vec![false; tokens.len()];
        let mut unclosed = false;
        for (turn, message) in messages.iter().enumerate().skip(trained_from) {
            unclosed = false;
            if message.role != "assistant" {
                continue;
            }
            let opened = self.template.render(messages.get(..turn).unwrap_or_default(), true, false).map_err(fault)?;
            if !whole.starts_with(&opened) {
                return Err(differs(&whole, &opened, turn, place));
            }
            let end = self.content_end(messages, turn, &whole, opened.len()).map_err(fault)?;
            let closed = self.special_after(&whole, &tokens, end).filter(|_| self.closes_specially);
            unclosed = closed.is_none();
            let shown = whole.get(end..).is_some_and(|rest| rest.starts_with(&self.closing_text));
            let text_end = end + if shown { self.closing_text.len() } else { 0 };
            for (place, (_, range)) in tokens.iter().enumerate() {
                // A word takes the blank before it along.
                let begun = whole.get(range.start..opened.len()).is_none_or(|blank| blank.chars().all(is_space))
                    && (range.end > opened.len() || range.start >= opened.len());
                let inside = closed.map_or(range.start < text_end, |closed| place < closed);
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

    /// Where a message's content ends in the whole text: something else in its place changes nothing
    /// from there on.
    fn content_end(
        &self,
        messages: &[Message],
        turn: usize,
        whole: &str,
        start: usize,
    ) -> Result<usize, TokenizerError> {
        let mut changed = messages.to_vec();
        if let Some(message) = changed.get_mut(turn) {
            // Its end has to differ from the content's, trimmed or not.
            let last = message.content.trim_end_matches(is_space).chars().next_back();
            if last == Some('0') { "1" } else { "0" }.clone_into(&mut message.content);
        }
        let other = self.template.render(&changed, false, false)?;
        let pairs = whole.chars().rev().zip(other.chars().rev());
        let common: usize = pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
        Ok((whole.len() - common).max(start))
    }

    /// The place after the first special token that follows, if only white space comes before it.
    fn special_after(&self, whole: &str, tokens: &Tokens, end: usize) -> Option<usize> {
        let after = tokens.iter().enumerate().skip_while(|(_, (_, range))| range.start < end);
        for (place, (id, range)) in after {
            if self.special.contains(id) {
                return Some(place + 1);
            }
            if !whole.get(range.clone()).unwrap_or("?").chars().all(is_space) {
                return None;
            }
        }
        None
    }
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
