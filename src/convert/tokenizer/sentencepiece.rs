//! `SentencePiece` BPE with byte fallback, `tokenizer.ggml.model = llama`.
//!
//! `SentencePiece` joins, again and again, the adjacent pair whose union has the best score. A list of
//! merges does the same when it holds every way to cut every piece in two, best score first.

use serde_json::{Value, json};

use super::vocabulary::{TokenKind, Vocabulary};
use super::{Parts, refused};
use crate::convert::config::SpecialIds;
use crate::convert::error::ConvertError;
use crate::convert::gguf::Metadata;

/// Longer pieces are no words; the limit keeps a hostile file from costing quadratic time.
const LONGEST_PIECE: usize = 512;

/// The tokenizer's parts; texts start with the begin token unless the file says otherwise.
///
/// # Errors
/// Missing scores or byte tokens, or normalisation beyond replacing blanks.
pub(crate) fn parts(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
    special: &SpecialIds,
) -> Result<(Parts, bool), ConvertError> {
    let scores = metadata.floats("tokenizer.ggml.scores")?;
    let scores = scores.ok_or_else(|| ConvertError::from(metadata.missing("tokenizer.ggml.scores")))?;
    if scores.len() != vocabulary.len() || scores.iter().any(|score| score.is_nan()) {
        return Err(refused(metadata, "its scores do not fit its tokens"));
    }
    if metadata.get("tokenizer.ggml.precompiled_charsmap").is_some()
        || metadata.flag("tokenizer.ggml.remove_extra_whitespaces")? == Some(true)
    {
        return Err(refused(metadata, "it normalises text by a table of its own"));
    }
    let unknown = vocabulary.iter().find(|(_, kind)| *kind == TokenKind::Unknown).map(|(text, _)| text);
    let unknown = unknown.or_else(|| special.unk.and_then(|id| vocabulary.text(id)));
    let Some(unknown) = unknown else { return Err(refused(metadata, "it has no token for unknown text")) };
    if (0..=255_u8).any(|byte| vocabulary.id(&format!("<0x{byte:02X}>")).is_none()) {
        return Err(refused(metadata, "it does not have a token for every byte"));
    }
    let prefix = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" });
    let normalizer = if prefix {
        json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "\u{2581}" }, replace] })
    } else {
        replace
    };
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": unknown,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": true,
        "byte_fallback": true,
        "ignore_merges": false,
        "vocab": vocabulary.vocab(),
        "merges": merges(vocabulary, scores),
    });
    let decoder = json!({ "type": "Sequence", "decoders": decoders });
    Ok((Parts { normalizer, pre_tokenizer: Value::Null, decoder, model }, true))
}

/// Every cut of every piece into two pieces, by falling score of the whole; cuts of one piece in
/// the order of their parts' ids.
fn merges(vocabulary: &Vocabulary<'_>, scores: &[f64]) -> Vec<Value> {
    let mut merges: Vec<(f64, u64, u64, u64, &str, &str)> = Vec::new();
    for ((id, (piece, kind)), score) in vocabulary.iter().enumerate().zip(scores) {
        if kind != TokenKind::Normal || piece.len() > LONGEST_PIECE {
            continue;
        }
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if let (Some(first), Some(second)) = (vocabulary.id(left), vocabulary.id(right)) {
                merges.push((*score, id as u64, first, second, left, right));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    merges.into_iter().map(|(_, _, _, _, left, right)| json!([left, right])).collect()
}
