//! Examples longer than a row.
//!
//! Nothing is cut out of a text's middle: what is left reads on from its first token to its last.
//! **Conversations** lose whole rounds, the oldest first ([`Conversation::shorter`]); one whose last round
//! is too long is left out, and so is a task's question that a chat template frames. A **plain prompt**
//! loses its beginning, as the evaluation cuts one that is too long, but for a BOS token; the last answer is
//! never touched, and an earlier one that lost its beginning is no longer trained. **Texts**, and token ids
//! that are all trained, are cut into pieces that share one token, so that every token but the first is
//! trained once.
//!
//! [`Conversation::shorter`]: super::content::Conversation::shorter

use super::encode::Encoded;

/// Result of shortening an example.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shortened {
    /// Example that fits, possibly without untrained tokens at its end.
    Fits(Encoded),
    /// Example with a shortened prompt.
    Cut(Encoded),
    /// The answer alone is too long.
    TooLong,
}

/// The example without what follows its last trained token, if it is then at most `most` tokens long;
/// nothing is learnt from the rest.
pub(super) fn without_tail(mut encoded: Encoded, most: usize) -> Result<Encoded, Encoded> {
    if encoded.tokens.len() > most {
        let last = encoded.trained.iter().rposition(|trained| *trained).map_or(0, |last| last + 1);
        encoded.tokens.truncate(last);
        encoded.trained.truncate(last);
    }
    if encoded.tokens.len() <= most { Ok(encoded) } else { Err(encoded) }
}

/// Brings an example to at most `most` tokens by cutting the beginning of its prompt; `first` is the id of a
/// token that stays at the beginning.
pub(super) fn shorten(encoded: Encoded, most: usize, first: Option<u32>) -> Shortened {
    if !encoded.trained.contains(&true) {
        return Shortened::TooLong;
    }
    let mut encoded = match without_tail(encoded, most) {
        Ok(encoded) => return Shortened::Fits(encoded),
        Err(encoded) => encoded,
    };
    let answer = encoded.trained.iter().rposition(|trained| !trained).map_or(0, |place| place + 1);
    let room = most.saturating_sub(encoded.tokens.len() - answer);
    if room == 0 {
        return Shortened::TooLong;
    }
    let head = usize::from(room > 1 && first.is_some() && encoded.tokens.first().copied() == first);
    let gap = head..head + (answer - room);
    for trained in encoded.trained.iter_mut().take(answer).skip(gap.end).take_while(|trained| **trained) {
        *trained = false;
    }
    encoded.tokens.drain(gap.clone());
    encoded.trained.drain(gap);
    encoded.leave_first();
    Shortened::Cut(encoded)
}

/// Cuts a text into pieces of at most `most` tokens.
pub(super) fn pieces(encoded: &Encoded, most: usize) -> Vec<Encoded> {
    let step = most.saturating_sub(1).max(1);
    let starts = (0..encoded.tokens.len().saturating_sub(1)).step_by(step);
    let piece = |start: usize| {
        let tokens: Vec<u32> = encoded.tokens.iter().skip(start).take(step + 1).copied().collect();
        let mut piece = Encoded { trained: vec![true; tokens.len()], tokens };
        piece.leave_first();
        piece
    };
    starts.map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens 0, 1, ...; capital letters carry loss.
    fn example(mask: &str) -> Encoded {
        let trained: Vec<bool> = mask.chars().map(char::is_uppercase).collect();
        Encoded { tokens: (0..trained.len() as u32).collect(), trained }
    }

    #[test]
    fn the_beginning_of_the_prompt_is_cut_and_the_answer_kept() {
        let Shortened::Cut(cut) = shorten(example("ppppppppppAA"), 10, Some(0)) else { panic!() };
        assert_eq!(cut.tokens, [0, 3, 4, 5, 6, 7, 8, 9, 10, 11], "only BOS stands before the gap");
        assert_eq!(cut.trained.iter().filter(|t| **t).count(), 2);
        let Shortened::Cut(cut) = shorten(example("ppppppppppAA"), 10, None) else { panic!() };
        assert_eq!(cut.tokens, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        let Shortened::Cut(cut) = shorten(example("ppppAAAA"), 5, Some(0)) else { panic!() };
        assert_eq!(cut.tokens, [3, 4, 5, 6, 7]);
        assert_eq!(shorten(example("ppppAAAA"), 4, None), Shortened::TooLong);
        assert_eq!(shorten(example("pppp"), 3, None), Shortened::TooLong);
        // The line break after the answer goes first.
        assert_eq!(shorten(example("ppAAp"), 4, None), Shortened::Fits(example("ppAA")));
    }

    #[test]
    fn an_answer_without_its_beginning_is_not_trained() {
        let Shortened::Cut(cut) = shorten(example("pAAAAppppA"), 8, Some(0)) else { panic!() };
        // Room for 7, BOS in front: tokens 1 and 2 are lost, 3 and 4 belong to the broken answer.
        assert_eq!(cut.tokens, [0, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(cut.trained, example("paappppA").trained);
    }

    #[test]
    fn pieces_train_every_token_once() {
        for (length, most) in [(1, 3), (2, 3), (7, 3), (9, 4), (5, 2)] {
            let mut whole = example(&"A".repeat(length));
            whole.leave_first();
            let trained: Vec<u32> = pieces(&whole, most)
                .iter()
                .inspect(|piece| assert!(piece.tokens.len() <= most))
                .flat_map(|p| {
                    p.tokens.iter().zip(&p.trained).filter(|(_, t)| **t).map(|(id, _)| *id).collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(trained, (1..length as u32).collect::<Vec<_>>());
        }
    }
}
