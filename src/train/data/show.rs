//! An example as `--show-batch` prints it.

use super::Example;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Around what is trained.
const MARKS: (&str, &str) = ("⟦", "⟧");

/// The text of an example with the trained part between ⟦ and ⟧, and a table of its tokens: place, id,
/// piece of the vocabulary, and whether it carries loss.
///
/// # Errors
/// As [`Tokenizer::decode`].
pub fn show(example: &Example, tokenizer: &Tokenizer) -> Result<String, TokenizerError> {
    let trained = example.trained.iter().filter(|trained| **trained).count();
    let mut text = format!(
        "{} tokens, {trained} of them trained (between {} and {}):\n\n",
        example.tokens.len(),
        MARKS.0,
        MARKS.1
    );
    let mut start = 0;
    for run in example.trained.chunk_by(|a, b| a == b) {
        let end = start + run.len();
        let piece = piece(example.tokens.as_slice(), start, end, tokenizer)?;
        if run.first() == Some(&true) {
            text.extend([MARKS.0, &piece, MARKS.1]);
        } else {
            text.push_str(&piece);
        }
        start = end;
    }
    text.push_str("\n\nplace       id  trained  piece\n");
    for (place, (id, trained)) in example.tokens.iter().zip(&example.trained).enumerate() {
        let mark = if *trained { "yes" } else { "" };
        let piece = tokenizer.token(*id).unwrap_or_else(|| "(not in the vocabulary)".to_owned());
        text.push_str(&format!("{place:>5}  {id:>7}  {mark:<7}  {}\n", piece.escape_debug()));
    }
    Ok(text)
}

/// The text of some tokens as they read after those before them, blanks between words included.
fn piece(tokens: &[u32], start: usize, end: usize, tokenizer: &Tokenizer) -> Result<String, TokenizerError> {
    let decode = |range: std::ops::Range<usize>| tokenizer.decode(&tokens[range], false);
    let (before, whole) = (decode(0..start)?, decode(0..end)?);
    // A character in parts on both sides is no longer the same text; then the part stands alone.
    match whole.strip_prefix(&before) {
        Some(rest) => Ok(rest.to_owned()),
        None => decode(start..end),
    }
}
