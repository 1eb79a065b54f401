//! From what is to be learnt to tokens that know whether they carry loss.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::asked::Asked;
use super::chat::Chat;
use super::content::{Closing, Content, Conversation};
use super::error::DataError;
use crate::error::Result;
use crate::python::repr::is_space;
use crate::tokenizer::{ChatTemplate, Tokenizer, TokenizerError};
use crate::train::recipe::{TrainRecipe, UnsupportedSystem};

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
    pub(crate) fn train_on_all(&mut self) {
        self.trained.fill(true);
        self.leave_first();
    }

    pub(crate) fn leave_first(&mut self) {
        if let Some(first) = self.trained.first_mut() {
            *first = false;
        }
    }
}

/// Origin of a row, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub origin: &'a str,
    pub row: usize,
}

impl Place<'_> {
    pub(crate) fn tokenizer_fault(self, source: TokenizerError) -> DataError {
        DataError::Encode { origin: self.origin.to_owned(), row: self.row, source }
    }
}

/// Turns contents into tokens.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    chat: Option<Chat>,
    asks_as_chat: bool,
    /// The recipe's name of the template.
    template_name: Option<String>,
    unsupported_system: UnsupportedSystem,
    /// Pairs whose prompt has a token that the evaluation's rule leaves out.
    unscored: AtomicUsize,
}

/// The template that tasks of this recipe are asked through, in training as in evaluation; none where they are
/// asked as plain text.
///
/// # Errors
/// As [`Encoder::new`].
pub(crate) fn asking_template(tokenizer: &Tokenizer, recipe: &TrainRecipe) -> Result<Option<ChatTemplate>> {
    let encoder = Encoder::new(tokenizer, recipe)?;
    Ok(encoder.chat.filter(|_| encoder.asks_as_chat).map(Chat::into_template))
}

impl<'a> Encoder<'a> {
    /// # Errors
    /// A chat template that is asked for and missing, or can't be used.
    pub(crate) fn new(tokenizer: &'a Tokenizer, recipe: &TrainRecipe) -> Result<Self> {
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
        let encoder = Self {
            tokenizer,
            chat,
            asks_as_chat,
            template_name: recipe.chat_template.clone(),
            unsupported_system: recipe.unsupported_system,
            unscored: AtomicUsize::new(0),
        };
        encoder.check_special_tokens(recipe)?;
        Ok(encoder)
    }

    /// Checks that the recipe's special tokens are those of the tokenizer.
    fn check_special_tokens(&self, recipe: &TrainRecipe) -> Result<(), DataError> {
        for (role, text) in &recipe.special_tokens {
            let found = self.tokenizer.special_tokens().get(role);
            if found != Some(text) {
                let (key, found) = (format!("special_tokens.{role}"), found.map(str::to_owned));
                return Err(DataError::SpecialToken { key, wanted: text.clone(), found });
            }
        }
        let (Some(chat), false) = (&self.chat, recipe.eot_tokens.is_empty()) else { return Ok(()) };
        let ends = |token: &String| self.tokenizer.id(token).is_some_and(|id| chat.closing().contains(&id));
        if !recipe.eot_tokens.iter().any(ends) {
            let found = self.tokenizer.decode(chat.closing(), false).ok();
            let (key, wanted) = ("eot_tokens".to_owned(), recipe.eot_tokens.join(", "));
            return Err(DataError::SpecialToken { key, wanted, found });
        }
        Ok(())
    }

    /// Empty counts of the prompt styles.
    pub(crate) fn asked(&self) -> Asked {
        let by_default = self.template_name.is_some() || self.tokenizer.chat_template_names().next().is_some();
        Asked {
            tasks_as_chat: (self.asks_as_chat, by_default),
            ..Asked::new(self.chat.as_ref().map(Chat::template), self.template_name.as_deref())
        }
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        self.tokenizer
    }

    /// Pairs since the last call whose prompt ends in a token that the evaluation's rule leaves out.
    pub(crate) fn take_unscored(&self) -> usize {
        self.unscored.swap(0, Ordering::Relaxed)
    }

    /// Whether tasks and instructions are asked as conversations.
    pub(crate) fn asks_as_chat(&self) -> bool {
        self.asks_as_chat
    }

    /// The template that tasks are asked through.
    pub(crate) fn chat(&self) -> Option<&Chat> {
        self.chat.as_ref().filter(|_| self.asks_as_chat)
    }

    /// The tokens of a row; none where the recipe leaves rows out whose system message the template has no
    /// place for.
    pub(crate) fn encode(&self, content: &Content, place: Place<'_>) -> Result<Option<Encoded>, DataError> {
        let fault = |source| place.tokenizer_fault(source);
        let mut encoded = match content {
            Content::Pair { prompt, completion, closing, scored } => {
                let mut encoded = self.pair(prompt, completion, *scored).map_err(fault)?;
                match (closing, &self.chat) {
                    (Closing::Turn, Some(chat)) => encoded.push(chat.closing(), true),
                    _ => self.end(&mut encoded)?,
                }
                encoded
            }
            Content::Chat(conversation) => match self.conversation(conversation, place)? {
                Some(encoded) => encoded,
                None => return Ok(None),
            },
            Content::Text(text) => {
                let mut encoded = Encoded::default();
                encoded.push(&self.tokenizer.encode_prompt(text).map_err(fault)?, true);
                self.end(&mut encoded)?;
                encoded
            }
            Content::Tokens { tokens, trained } => Encoded { tokens: tokens.clone(), trained: trained.clone() },
        };
        encoded.leave_first();
        Ok(Some(encoded))
    }

    /// The tokens of the whole text, as a model that is asked with the prompt will read it: blanks and line
    /// breaks at the prompt's end stay. Those carry loss that lie in the completion, and one that reaches into
    /// it by more than blanks.
    ///
    /// The evaluation parts them by another rule ([`Tokenizer::encode_pair`]). The loss of what it scores is
    /// on the tokens that it scores, unless it leaves a token of the prompt out.
    fn pair(&self, prompt: &str, completion: &str, scored: bool) -> Result<Encoded, TokenizerError> {
        let mut encoded = Encoded::default();
        if prompt.is_empty() || scored {
            let pair = self.tokenizer.encode_pair(prompt, completion)?;
            encoded.push(&pair.context, false);
            encoded.push(&pair.continuation, true);
        }
        if prompt.is_empty() {
            return Ok(encoded);
        }
        let whole = [prompt, completion].concat();
        let tokens = self.tokenizer.encode_with_offsets(&whole)?;
        if scored && encoded.tokens.iter().eq(tokens.iter().map(|(id, _)| id)) {
            return Ok(encoded);
        }
        self.unscored.fetch_add(usize::from(scored), Ordering::Relaxed);
        let mut encoded = Encoded::default();
        for (id, range) in tokens {
            // Empty where the token ends inside the prompt.
            let said = whole.get(range.start.max(prompt.len())..range.end).unwrap_or("");
            let inside = range.start >= prompt.len() && !range.is_empty();
            // What a post-processor adds at the end.
            let added = range.is_empty() && encoded.trained.contains(&true);
            encoded.push(&[id], inside || added || !said.trim_matches(is_space).is_empty());
        }
        if encoded.trained.first() == Some(&true) {
            let Some((_, prefix)) = self.tokenizer.prefix() else {
                return Err(TokenizerError::NoPrefixToken { path: self.tokenizer.directory().to_owned() });
            };
            encoded.tokens.insert(0, prefix);
            encoded.trained.insert(0, false);
        }
        Ok(encoded)
    }

    fn conversation(&self, conversation: &Conversation, place: Place<'_>) -> Result<Option<Encoded>, DataError> {
        let Some(chat) = &self.chat else {
            return Err(DataError::NoChatTemplate {
                origin: place.origin.to_owned(),
                row: place.row,
                directory: self.tokenizer.directory().to_owned(),
            });
        };
        let error = match chat.encode(conversation, self.tokenizer, place) {
            Ok(encoded) => return Ok(Some(encoded)),
            Err(error) => error,
        };
        let template = matches!(
            &error,
            DataError::TurnLost { .. }
                | DataError::NotPrefix { .. }
                | DataError::Encode { source: TokenizerError::ChatRefused { .. }, .. }
        );
        if !template || self.unsupported_system == UnsupportedSystem::Raise {
            return Err(error);
        }
        // That the system message is to blame shows where the row goes without one.
        let folded = conversation.with_system_prepended();
        match folded.map(|folded| chat.encode(&folded, self.tokenizer, place)) {
            Some(Ok(encoded)) if self.unsupported_system == UnsupportedSystem::Prepend => Ok(Some(encoded)),
            Some(Ok(_)) => Ok(None),
            _ => Err(error),
        }
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
