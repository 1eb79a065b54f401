//! Tokens by id, read from whatever vocabulary a model directory has.
//!
//! Only for comparing models: rows of two embeddings can be averaged when they stand for the same tokens. Nothing is
//! encoded with it, so that any kind of tokenizer can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Tokens by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Vocabulary {
    tokens: BTreeMap<u64, String>,
}

/// A vocabulary that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{} is not a vocabulary: {reason}", path.display())]
pub(crate) struct VocabularyError {
    path: PathBuf,
    reason: String,
}

/// Difference between two vocabularies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Disagreement {
    /// Ids that stand for another token, in order, with both tokens.
    pub other: Vec<(u64, String, String)>,
    /// Ids that only the first has.
    pub only_first: usize,
    /// Ids that only the second has.
    pub only_second: usize,
}

impl Vocabulary {
    /// Reads the vocabulary of a directory: of tokenizer.json, vocab.json, vocab.txt or tokenizer.model, the first
    /// that is there, with the tokens added to it. `None` when there is none.
    ///
    /// # Errors
    /// A file that is not what its name says.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, VocabularyError> {
        let mut vocabulary = Self::default();
        let whole = directory.join("tokenizer.json");
        if whole.is_file() {
            vocabulary.add_tokenizer(&json(&whole)?).map_err(|reason| VocabularyError { path: whole, reason })?;
            return Ok(Some(vocabulary));
        }
        let (table, lines, pieces) =
            (directory.join("vocab.json"), directory.join("vocab.txt"), directory.join("tokenizer.model"));
        if table.is_file() {
            vocabulary.add_table(&json(&table)?).map_err(|reason| VocabularyError { path: table, reason })?;
        } else if lines.is_file() {
            let bytes = read(&lines)?;
            let text = String::from_utf8_lossy(&bytes);
            vocabulary.tokens = text.lines().enumerate().map(|(id, token)| (id as u64, token.to_owned())).collect();
        } else if pieces.is_file() {
            let bytes = read(&pieces)?;
            let found = sentence_pieces(&bytes);
            let reason = "it is no SentencePiece model".to_owned();
            let found = found.ok_or(VocabularyError { path: pieces, reason })?;
            vocabulary.tokens = found.into_iter().enumerate().map(|(id, token)| (id as u64, token)).collect();
        } else {
            return Ok(None);
        }
        let added = directory.join("added_tokens.json");
        if added.is_file() {
            vocabulary.add_table(&json(&added)?).map_err(|reason| VocabularyError { path: added, reason })?;
        }
        Ok(Some(vocabulary))
    }

    /// Number of ids.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Compares id by id.
    #[must_use]
    pub(crate) fn compare(&self, other: &Self) -> Disagreement {
        let ids: BTreeSet<u64> = self.tokens.keys().chain(other.tokens.keys()).copied().collect();
        let mut found = Disagreement::default();
        for id in ids {
            match (self.tokens.get(&id), other.tokens.get(&id)) {
                (Some(a), Some(b)) if a != b => found.other.push((id, a.clone(), b.clone())),
                (Some(_), None) => found.only_first += 1,
                (None, Some(_)) => found.only_second += 1,
                _ => {}
            }
        }
        found
    }

    /// `model.vocab`, a table or a list of pieces with scores, and `added_tokens`.
    fn add_tokenizer(&mut self, tokenizer: &Value) -> Result<(), String> {
        match tokenizer.get("model").and_then(|model| model.get("vocab")) {
            Some(table @ Value::Object(_)) => self.add_table(table)?,
            Some(Value::Array(pieces)) => {
                for (id, piece) in pieces.iter().enumerate() {
                    let token = piece.get(0).and_then(Value::as_str).ok_or("a piece of `model.vocab` has no text")?;
                    self.tokens.insert(id as u64, token.to_owned());
                }
            }
            _ => return Err("`model.vocab` is missing".to_owned()),
        }
        for added in tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            let (id, token) = (added.get("id").and_then(Value::as_u64), added.get("content").and_then(Value::as_str));
            let (id, token) = id.zip(token).ok_or("an entry of `added_tokens` lacks `id` or `content`")?;
            self.tokens.insert(id, token.to_owned());
        }
        Ok(())
    }

    fn add_table(&mut self, table: &Value) -> Result<(), String> {
        let table = table.as_object().ok_or("it is not one JSON object")?;
        for (token, id) in table {
            let id = id.as_u64().ok_or_else(|| format!("the id of token `{token}` is {id}"))?;
            self.tokens.insert(id, token.clone());
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, VocabularyError> {
    crate::storage::input::read(path, crate::storage::input::LIST_BYTES)
        .map_err(|error| VocabularyError { path: path.into(), reason: error.to_string() })
}

fn json(path: &Path) -> Result<Value, VocabularyError> {
    serde_json::from_slice(&read(path)?)
        .map_err(|error| VocabularyError { path: path.into(), reason: error.to_string() })
}

/// The pieces of a `SentencePiece` model: field 1 of every field 1 of the protocol buffer.
fn sentence_pieces(bytes: &[u8]) -> Option<Vec<String>> {
    let mut pieces = Vec::new();
    for (field, value) in fields(bytes)? {
        if let (1, Some(piece)) = (field, value) {
            let text = fields(piece)?.into_iter().find_map(|(field, value)| value.filter(|_| field == 1));
            pieces.push(String::from_utf8_lossy(text.unwrap_or(&[])).into_owned());
        }
    }
    (!pieces.is_empty()).then_some(pieces)
}

/// A field of a protocol buffer: its number, and its bytes where it has a length.
type Field<'a> = (u64, Option<&'a [u8]>);

/// All fields of a message, in order.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                None
            }
            1 => {
                bytes = bytes.get(8..)?;
                None
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Some(value)
            }
            5 => {
                bytes = bytes.get(4..)?;
                None
            }
            _ => return None,
        };
        found.push((key >> 3, value));
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Result<Option<Vocabulary>, VocabularyError>) {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let read = Vocabulary::read(dir.path());
        (dir, read)
    }

    fn vocabulary(files: &[(&str, &[u8])]) -> Vocabulary {
        written(files).1.unwrap().unwrap()
    }

    #[test]
    fn every_kind_of_vocabulary_gives_the_same_ids() {
        // Two pieces of a SentencePiece model, each with a text and a score, and one field of another kind.
        let model = b"\x0a\x08\x0a\x01a\x15\x00\x00\x00\x00\x0a\x09\x0a\x02bc\x15\x00\x00\x80\x3f\x18\x01";
        let tokenizer = br#"{"model": {"type": "BPE", "vocab": {"bc": 1, "a": 0}}, "added_tokens": []}"#;
        let unigram = br#"{"model": {"type": "Unigram", "vocab": [["a", 0.0], ["bc", -1.0]]}}"#;
        let expected = vocabulary(&[("tokenizer.json", tokenizer)]);
        assert_eq!(expected.len(), 2);
        for files in [
            ("tokenizer.json", &unigram[..]),
            ("vocab.json", br#"{"a": 0, "bc": 1}"#),
            ("vocab.txt", b"a\nbc\n"),
            ("tokenizer.model", model),
        ] {
            assert_eq!(vocabulary(&[files]), expected, "{}", files.0);
        }
        assert_eq!(vocabulary(&[("vocab.json", b"{\"a\": 0}"), ("added_tokens.json", b"{\"bc\": 1}")]), expected);
        assert!(written(&[]).1.unwrap().is_none());
        assert!(written(&[("tokenizer.json", b"{}")]).1.is_err());
        assert!(written(&[("tokenizer.model", b"\xff\xff")]).1.is_err());
    }

    #[test]
    fn ids_of_other_tokens_are_distinguished_from_missing_ids() {
        let a = vocabulary(&[("vocab.txt", b"x\ny\nz\n")]);
        let b = vocabulary(&[("vocab.txt", b"x\nz\n")]);
        let found = a.compare(&b);
        assert_eq!(found.other, [(1, "y".to_owned(), "z".to_owned())]);
        assert_eq!((found.only_first, found.only_second), (1, 0));
        assert_eq!(a.compare(&a), Disagreement::default());
    }
}
