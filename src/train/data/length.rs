//! Examples longer than a row.
//!
//! `shorten` never touches the last answer. Of what comes before it, a quarter of what fits is kept
//! from the start (BOS, the template's head, the instruction) and the rest from the end (what is
//! asked, the opened turn); the gap lies between. An earlier answer that lost its beginning to the
//! gap is no longer trained. An example whose last answer leaves no room for a single token before it
//! can't be shortened. Texts, which have no prompt, are cut into pieces that share one token, so that
//! every token but the first is trained once.

use super::encode::Encoded;

/// What shortening made of an example.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shortened {
    /// It fits, possibly without untrained tokens at its end.
    Fits(Encoded),
    /// Its prompt was cut.
    Cut(Encoded),
    /// The answer alone is too long.
    TooLong,
}

/// Brings an example to at most `most` tokens.
pub(super) fn shorten(mut encoded: Encoded, most: usize) -> Shortened {
    if encoded.tokens.len() <= most {
        return Shortened::Fits(encoded);
    }
    let Some(last) = encoded.trained.iter().rposition(|trained| *trained) else { return Shortened::TooLong };
    // Nothing is learnt from what follows the last answer.
    encoded.tokens.truncate(last + 1);
    encoded.trained.truncate(last + 1);
    if encoded.tokens.len() <= most {
        return Shortened::Fits(encoded);
    }
    let answer = encoded.trained.iter().rposition(|trained| !trained).map_or(0, |place| place + 1);
    let room = most.saturating_sub(encoded.tokens.len() - answer);
    if room == 0 {
        return Shortened::TooLong;
    }
    let head = (room / 4).max(usize::from(room > 1));
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
    fn the_prompt_is_cut_and_the_answer_kept() {
        let Shortened::Cut(cut) = shorten(example("ppppppppppAA"), 10) else { panic!() };
        assert_eq!(cut.tokens, [0, 1, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(cut.trained.iter().filter(|t| **t).count(), 2);
        let Shortened::Cut(cut) = shorten(example("ppppAAAA"), 5) else { panic!() };
        assert_eq!(cut.tokens, [3, 4, 5, 6, 7]);
        assert_eq!(shorten(example("ppppAAAA"), 4), Shortened::TooLong);
        assert_eq!(shorten(example("pppp"), 3), Shortened::TooLong);
        // The line break after the answer goes first.
        assert_eq!(shorten(example("ppAAp"), 4), Shortened::Fits(example("ppAA")));
    }

    #[test]
    fn an_answer_without_its_beginning_is_not_trained() {
        let Shortened::Cut(cut) = shorten(example("ppAAAppppA"), 9) else { panic!() };
        // Room for 8, of which 2 in front: token 2 is lost, 3 and 4 belong to the broken answer.
        assert_eq!(cut.tokens, [0, 1, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(cut.trained, example("ppaappppA").trained);
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
