//! From rendered prompts to what a model is asked, in tokens.

use std::ops::Range;

use super::language_model::{GenerateRequest, Score, ScoreRequest};
use super::outcome::Outcome;
use crate::error::{Diagnose, ErrorKind, Result};
use crate::task::{Ask, GenerationArguments, Rendered};
use crate::tokenizer::pair::fit_prompt;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Everything that is asked, over all tasks; documents hold ranges of it.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Continuations to score.
    pub score: Vec<ScoreRequest>,
    /// Prompts to continue.
    pub generate: Vec<GenerateRequest>,
    /// Documents that were cut to the model's length.
    pub truncated: usize,
}

/// Index of the answers to one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// One score a choice, and the same choices after an empty context.
    Choices(Range<usize>, Option<Range<usize>>),
    /// One score.
    Continuation(usize),
    /// One score a window.
    Rolling(Range<usize>),
    /// One text, repeated as often as asked for.
    Text(usize),
}

/// Settings of asking a document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// Splits text into tokens.
    pub tokenizer: &'a Tokenizer,
    /// Tokens that the model can read.
    pub max_length: usize,
    /// Choices are scored after an empty context too.
    pub unconditional: bool,
    /// Choices are not scored; the model writes this much, and a protocol reads a label from it.
    pub written_labels: Option<&'a GenerationArguments>,
}

/// A task asks something that this kind of scoring can't do.
#[derive(Debug, thiserror::Error)]
#[error("document {document}: {reason}")]
struct AskError {
    document: usize,
    reason: &'static str,
}

impl Diagnose for AskError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }
}

impl Requests {
    /// Adds a document's requests.
    ///
    /// # Errors
    /// Errors of the tokenizer, and choices with prompts of their own under a generation protocol.
    pub(crate) fn add(&mut self, rendered: &Rendered, asking: &Asking<'_>) -> Result<Place> {
        let before = self.truncated;
        let place = self.place(rendered, asking)?;
        // A document counts once, however many of its requests were cut.
        self.truncated = before + usize::from(self.truncated > before);
        Ok(place)
    }

    fn place(&mut self, rendered: &Rendered, asking: &Asking<'_>) -> Result<Place> {
        match (&rendered.ask, asking.written_labels) {
            (Ask::Choices { contexts, .. }, Some(arguments)) => {
                if contexts.len() > 1 {
                    let reason = "every choice has a prompt of its own, so there is none to write an answer to";
                    return Err(AskError { document: rendered.doc_id, reason }.into());
                }
                self.text(rendered, arguments, asking)
            }
            (Ask::Choices { contexts, continuations, .. }, None) => {
                let start = self.score.len();
                if let [context] = contexts.as_slice() {
                    self.pairs(context, continuations, asking)?;
                } else {
                    for (context, continuation) in contexts.iter().zip(continuations) {
                        self.pairs(context, std::slice::from_ref(continuation), asking)?;
                    }
                }
                let choices = start..self.score.len();
                if asking.unconditional {
                    self.pairs("", continuations, asking)?;
                }
                let rest = choices.end..self.score.len();
                Ok(Place::Choices(choices, asking.unconditional.then_some(rest)))
            }
            (Ask::Continuation { continuation }, _) => {
                self.pairs(&rendered.context, std::slice::from_ref(continuation), asking)?;
                Ok(Place::Continuation(self.score.len() - 1))
            }
            (Ask::Rolling { text }, _) => self.rolling(text, asking),
            (Ask::Generate { arguments, .. }, _) => self.text(rendered, arguments, asking),
        }
    }

    fn pairs(&mut self, context: &str, continuations: &[String], asking: &Asking<'_>) -> Result<()> {
        for pair in asking.tokenizer.encode_choices(context, continuations)? {
            let (pair, cut) = pair.fit(asking.max_length)?;
            self.truncated += usize::from(cut);
            self.score.push(ScoreRequest { context: pair.context, continuation: pair.continuation });
        }
        Ok(())
    }

    fn text(&mut self, rendered: &Rendered, arguments: &GenerationArguments, asking: &Asking<'_>) -> Result<Place> {
        let prompt = asking.tokenizer.encode_prompt(&rendered.context)?;
        let (context, cut) = fit_prompt(prompt, asking.max_length, arguments.max_tokens);
        self.truncated += usize::from(cut);
        let eos = asking.tokenizer.eos().map(|(text, _)| text.to_owned());
        self.generate.push(GenerateRequest {
            context,
            text: rendered.context.clone(),
            messages: rendered.messages.clone(),
            until: arguments.until.iter().cloned().chain(eos).collect(),
            max_tokens: arguments.max_tokens,
            temperature: if arguments.do_sample { arguments.temperature } else { 0.0 },
        });
        Ok(Place::Text(self.generate.len() - 1))
    }

    /// Disjoint windows that predict every token once; all but the first see one token of the one
    /// before, the last one is filled up with earlier context.
    fn rolling(&mut self, text: &str, asking: &Asking<'_>) -> Result<Place> {
        let tokenizer = asking.tokenizer;
        let Some((_, prefix)) = tokenizer.prefix() else {
            return Err(TokenizerError::NoPrefixToken { path: tokenizer.directory().to_owned() }.into());
        };
        let tokens = tokenizer.encode(text, true)?;
        let start = self.score.len();
        self.score.extend(windows(&tokens, prefix, asking.max_length));
        Ok(Place::Rolling(start..self.score.len()))
    }
}

fn windows(tokens: &[u32], prefix: u32, length: usize) -> Vec<ScoreRequest> {
    let length = length.max(1);
    let mut windows = Vec::new();
    let mut predicted = 0;
    while predicted < tokens.len() {
        let end = (predicted + length).min(tokens.len());
        let context = if predicted == 0 {
            vec![prefix]
        } else {
            // As much context as fits beside what is predicted; one token at least.
            let read = end - predicted - 1;
            tokens[predicted.saturating_sub(length - read)..predicted].to_vec()
        };
        windows.push(ScoreRequest { context, continuation: tokens[predicted..end].to_vec() });
        predicted = end;
    }
    windows
}

/// The answers to all requests.
#[derive(Debug)]
pub(crate) struct Answers {
    /// One a score request.
    pub scores: Vec<Score>,
    /// One a generate request; `None` where none came, which scoring refuses.
    pub texts: Vec<Option<String>>,
}

impl Answers {
    /// Outcome of a document.
    #[must_use]
    pub(crate) fn outcome(&self, rendered: &Rendered, place: &Place, repeats: usize) -> Outcome {
        let scores = |range: &Range<usize>| &self.scores[range.clone()];
        let text = |index: &usize| match self.texts.get(*index) {
            Some(Some(text)) => vec![text.clone(); repeats.max(1)],
            _ => Vec::new(),
        };
        match (place, &rendered.ask) {
            (Place::Choices(range, unconditional), Ask::Choices { choices, gold, .. }) => Outcome::Choice {
                choices: choices.clone(),
                gold: gold.clone(),
                scores: scores(range).to_vec(),
                unconditional: unconditional.as_ref().map(|r| scores(r).iter().map(|s| s.logprob).collect()),
            },
            (Place::Text(index), Ask::Choices { choices, gold, .. }) => Outcome::Text {
                references: gold.iter().filter_map(|place| choices.get(*place).cloned()).collect(),
                responses: text(index),
                choices: choices.clone(),
                doc: rendered.doc.clone(),
            },
            (Place::Text(index), Ask::Generate { references, choices, .. }) => Outcome::Text {
                references: references.clone(),
                responses: text(index),
                choices: choices.clone(),
                doc: rendered.doc.clone(),
            },
            (Place::Rolling(range), Ask::Rolling { text }) => Outcome::Rolling {
                logprob: scores(range).iter().map(|score| score.logprob).sum(),
                // The harness splits at runs of white space with a regular expression, which counts
                // the empty piece before leading and after trailing white space too.
                words: text.split(char::is_whitespace).filter(|word| !word.is_empty()).count()
                    + usize::from(text.starts_with(char::is_whitespace))
                    + usize::from(text.ends_with(char::is_whitespace) || text.is_empty()),
                bytes: text.len(),
            },
            (Place::Continuation(index), _) => {
                Outcome::Continuation { score: scores(&(*index..*index + 1)).first().copied().unwrap_or(NO_SCORE) }
            }
            // Places are made from the same prompts.
            _ => Outcome::Continuation { score: NO_SCORE },
        }
    }
}

/// Stands for an answer that was never given; scoring refuses it.
pub(crate) const NO_SCORE: Score = Score { logprob: f64::NAN, is_greedy: false };

#[cfg(test)]
mod tests {
    use super::*;

    /// The harness's own examples of rolling windows, made disjoint.
    #[test]
    fn windows_predict_every_token_once() {
        let tokens: Vec<u32> = (1..=10).collect();
        for length in 1..=12 {
            let windows = windows(&tokens, 0, length);
            let predicted: Vec<u32> = windows.iter().flat_map(|w| w.continuation.clone()).collect();
            assert_eq!(predicted, tokens);
            for (index, window) in windows.iter().enumerate() {
                // What is read: all but the last token.
                assert!(window.context.len() + window.continuation.len() - 1 <= length);
                let last = *window.context.last().unwrap();
                assert_eq!(last + 1, window.continuation[0], "window {index}");
            }
        }
        let four = windows(&tokens, 0, 4);
        let shape: Vec<(Vec<u32>, Vec<u32>)> = four.into_iter().map(|w| (w.context, w.continuation)).collect();
        let expected = [(vec![0], vec![1, 2, 3, 4]), (vec![4], vec![5, 6, 7, 8]), (vec![6, 7, 8], vec![9, 10])];
        assert_eq!(shape, expected);
    }
}
