//! A context and its continuation as tokens, by lm-evaluation-harness's rule.
//!
//! Both are tokenised together and the context once more alone; the continuation's tokens are what
//! follows as many tokens as the context has. A merge across the joint therefore counts against the
//! continuation, and may even leave it empty.

use super::encoder::Tokenizer;
use super::error::TokenizerError;
use crate::python::repr::is_space;

/// Tokens of a context and of what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Never empty.
    pub context: Vec<u32>,
    /// May be empty, see the module's note.
    pub continuation: Vec<u32>,
}

impl Tokenizer {
    /// The tokens of a text, with special tokens unless it begins with the prefix token's text (as
    /// a rendered chat template does).
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode(text, self.adds_special(text))
    }

    /// Whether a prompt still needs its special tokens.
    pub(super) fn adds_special(&self, text: &str) -> bool {
        !self.prefix().is_some_and(|(prefix, _)| text.starts_with(prefix))
    }

    /// The tokens of a context and a continuation. White space at the end of the context belongs to
    /// the continuation; an empty context becomes the BOS (or EOS) token.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], or that there is no token to stand for an empty context.
    pub fn encode_pair(&self, context: &str, continuation: &str) -> Result<Pair, TokenizerError> {
        let mut pairs = self.encode_choices(context, &[continuation])?;
        Ok(pairs.pop().unwrap_or(Pair { context: Vec::new(), continuation: Vec::new() }))
    }

    /// [`encode_pair`](Self::encode_pair) for several continuations of one context, which is
    /// tokenised alone only once.
    ///
    /// # Errors
    /// As [`encode_pair`](Self::encode_pair).
    pub fn encode_choices<S: AsRef<str>>(
        &self,
        context: &str,
        continuations: &[S],
    ) -> Result<Vec<Pair>, TokenizerError> {
        if context.is_empty() {
            return continuations.iter().map(|text| self.after_prefix(text.as_ref())).collect();
        }
        let kept = context.trim_end_matches(is_space);
        let head = if kept.is_empty() { Vec::new() } else { self.encode_prompt(kept)? };
        let head = if head.is_empty() { None } else { Some(head) };
        continuations
            .iter()
            .map(|continuation| {
                let whole = [context, continuation.as_ref()].concat();
                // Nothing but white space before the continuation, or no token for it: only the
                // prefix token can stand before it.
                let Some(head) = &head else { return self.after_prefix(&whole) };
                let tokens = self.encode_prompt(&whole)?;
                let continuation = tokens.get(head.len()..).map_or_else(Vec::new, <[u32]>::to_vec);
                Ok(Pair { context: head.clone(), continuation })
            })
            .collect()
    }

    fn after_prefix(&self, text: &str) -> Result<Pair, TokenizerError> {
        let Some((_, prefix)) = self.prefix() else {
            return Err(TokenizerError::NoPrefixToken { path: self.directory().to_owned() });
        };
        let mut continuation = self.encode(text, false)?;
        if continuation.first() == Some(&prefix) {
            continuation.remove(0);
        }
        Ok(Pair { context: vec![prefix], continuation })
    }
}

impl Pair {
    /// Cuts the context on the left so that what the model reads (all tokens but the last) fits
    /// `max_length`; `true` when something was cut.
    ///
    /// # Errors
    /// [`TokenizerError::ContinuationTooLong`] when the continuation alone does not fit.
    pub fn fit(mut self, max_length: usize) -> Result<(Self, bool), TokenizerError> {
        let room = (max_length + 1).saturating_sub(self.continuation.len());
        if room == 0 {
            return Err(TokenizerError::ContinuationTooLong { tokens: self.continuation.len(), max_length });
        }
        let surplus = self.context.len().saturating_sub(room);
        self.context.drain(..surplus);
        Ok((self, surplus > 0))
    }
}

/// The last tokens of a prompt that leave `max_tokens` positions for new ones; `true` when something was
/// cut. At least one token stays.
#[must_use]
pub(crate) fn fit_prompt(mut prompt: Vec<u32>, max_length: usize, max_tokens: usize) -> (Vec<u32>, bool) {
    let room = max_length.saturating_sub(max_tokens).max(1);
    let surplus = prompt.len().saturating_sub(room);
    prompt.drain(..surplus);
    (prompt, surplus > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_keeps_the_end_of_the_context() {
        let pair = Pair { context: vec![1, 2, 3, 4], continuation: vec![5, 6] };
        assert_eq!(pair.clone().fit(5).unwrap(), (pair.clone(), false));
        let (cut, truncated) = pair.clone().fit(4).unwrap();
        assert_eq!((cut.context, truncated), (vec![2, 3, 4], true));
        assert_eq!(pair.clone().fit(2).unwrap().0.context, [4]);
        assert!(matches!(pair.fit(1), Err(TokenizerError::ContinuationTooLong { .. })));
        assert_eq!(fit_prompt(vec![1, 2, 3], 4, 2), (vec![2, 3], true));
        assert_eq!(fit_prompt(vec![1, 2, 3], 4, 9), (vec![3], true));
    }
}
