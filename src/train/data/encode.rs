//! From what is to be learnt to tokens that know whether they carry loss.

use super::chat::Chat;
use super::content::{Closing, Content};
use super::error::DataError;
use crate::error::Result;
use crate::tokenizer::{ChatTemplate, Tokenizer, TokenizerError};
use crate::train::recipe::TrainRecipe;

/// A token sequence and which of its tokens carry loss.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Encoded {
    pub tokens: Vec<u32>,
    pub trained: Vec<bool>,
}

impl Encoded {
    fn push(&mut self, tokens: &[u32], trained: bool) {
        self.tokens.extend_from_slice(tokens);
        self.trained.resize(self.tokens.len(), trained);
    }

    /// Loss on everything that can carry it: the first token has nothing before it.
    pub fn train_on_all(&mut self) {
        self.trained.fill(true);
        self.leave_first();
    }

    pub fn leave_first(&mut self) {
        if let Some(first) = self.trained.first_mut() {
            *first = false;
        }
    }
}

/// Where a row is from, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub origin: &'a str,
    pub row: usize,
}

impl Place<'_> {
    pub fn tokenizer_fault(self, source: TokenizerError) -> DataError {
        DataError::Encode { origin: self.origin.to_owned(), row: self.row, source }
    }
}

/// Turns contents into tokens.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    chat: Option<Chat>,
    asks_as_chat: bool,
}

/// The template that tasks of this recipe are asked through, in training as in evaluation; none where they are
/// asked as plain text.
///
/// # Errors
/// As [`Encoder::new`].
pub fn asking_template(tokenizer: &Tokenizer, recipe: &TrainRecipe) -> Result<Option<ChatTemplate>> {
    let encoder = Encoder::new(tokenizer, recipe)?;
    Ok(encoder.chat.filter(|_| encoder.asks_as_chat).map(Chat::into_template))
}

impl<'a> Encoder<'a> {
    /// # Errors
    /// A chat template that is asked for and missing, or can't be used.
    pub fn new(tokenizer: &'a Tokenizer, recipe: &TrainRecipe) -> Result<Self> {
        let open = || -> Result<Chat> {
            let template = tokenizer.chat_template(recipe.chat_template.as_deref())?;
            Chat::new(template, tokenizer)
        };
        let chat = match recipe.apply_chat_template {
            Some(true) => Some(open()?),
            // Conversations still need one; where it can't be had they say so.
            Some(false) if recipe.chat_template.is_none() => open().ok(),
            _ if recipe.chat_template.is_some() || tokenizer.chat_template_names().next().is_some() => Some(open()?),
            _ => None,
        };
        let asks_as_chat = chat.is_some() && recipe.apply_chat_template != Some(false);
        Ok(Self { tokenizer, chat, asks_as_chat })
    }

    /// Whether tasks and instructions are asked as conversations.
    pub fn asks_as_chat(&self) -> bool {
        self.asks_as_chat
    }

    /// The template that tasks are asked through.
    pub fn chat(&self) -> Option<&Chat> {
        self.chat.as_ref().filter(|_| self.asks_as_chat)
    }

    pub fn encode(&self, content: &Content, place: Place<'_>) -> Result<Encoded, DataError> {
        let fault = |source| place.tokenizer_fault(source);
        let mut encoded = match content {
            Content::Pair { prompt, completion, closing } => {
                let pair = self.tokenizer.encode_pair(prompt, completion).map_err(fault)?;
                let mut encoded = Encoded::default();
                encoded.push(&pair.context, false);
                encoded.push(&pair.continuation, true);
                match (closing, &self.chat) {
                    (Closing::Turn, Some(chat)) => encoded.push(chat.closing(), true),
                    _ => self.end(&mut encoded)?,
                }
                encoded
            }
            Content::Chat { messages, trained_from } => {
                let Some(chat) = &self.chat else {
                    return Err(DataError::NoChatTemplate {
                        origin: place.origin.to_owned(),
                        row: place.row,
                        directory: self.tokenizer.directory().to_owned(),
                    });
                };
                chat.encode(messages, *trained_from, self.tokenizer, place)?
            }
            Content::Text(text) => {
                let mut encoded = Encoded::default();
                encoded.push(&self.tokenizer.encode_prompt(text).map_err(fault)?, true);
                self.end(&mut encoded)?;
                encoded
            }
            Content::Tokens { tokens, trained } => Encoded { tokens: tokens.clone(), trained: trained.clone() },
        };
        encoded.leave_first();
        Ok(encoded)
    }

    /// EOS, unless it is there already.
    fn end(&self, encoded: &mut Encoded) -> Result<(), DataError> {
        let Some((_, eos)) = self.tokenizer.eos() else {
            return Err(DataError::NoEos { directory: self.tokenizer.directory().to_owned() });
        };
        let ended = encoded.tokens.last() == Some(&eos) && encoded.trained.last() == Some(&true);
        if !ended {
            encoded.push(&[eos], true);
        }
        Ok(())
    }
}
