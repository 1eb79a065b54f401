//! Byte-level BPE, `tokenizer.ggml.model = gpt2`.

use serde_json::{Value, json};

use super::vocabulary::Vocabulary;
use super::{Parts, refused};
use crate::convert::error::ConvertError;
use crate::convert::gguf::Metadata;

/// Llama 3's split: words with one leading non-letter, up to three digits, punctuation, line ends.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen2's split: as Llama 3's, but single digits.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Behaviour of a named pre-tokeniser.
struct PreTokenizer {
    normalizer: Value,
    steps: Vec<Value>,
    /// Whole words of the vocabulary are taken without merging.
    ignore_merges: bool,
    add_bos: bool,
}

fn pre_tokenizer(name: &str) -> Option<PreTokenizer> {
    let byte_level = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
    let split = |regex: &str| {
        vec![
            json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false }),
            byte_level(false),
        ]
    };
    let plain = |steps| PreTokenizer { normalizer: Value::Null, steps, ignore_merges: false, add_bos: false };
    Some(match name {
        "gpt-2" => plain(vec![byte_level(true)]),
        "smollm" | "starcoder" | "refact" | "command-r" => {
            plain(vec![json!({ "type": "Digits", "individual_digits": true }), byte_level(true)])
        }
        "llama-bpe" | "llama3" | "llama-v3" => {
            PreTokenizer { ignore_merges: true, add_bos: true, ..plain(split(LLAMA3)) }
        }
        "qwen2" => PreTokenizer { normalizer: json!({ "type": "NFC" }), ..plain(split(QWEN2)) },
        _ => return None,
    })
}

/// The tokenizer's parts, and whether texts start with the begin token unless the file says.
///
/// # Errors
/// An unknown pre-tokeniser, or merges that don't fit the vocabulary.
pub(crate) fn parts(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<(Parts, bool), ConvertError> {
    let name = metadata.text("tokenizer.ggml.pre")?;
    let name = name.ok_or_else(|| refused(metadata, "the file does not name its pre-tokeniser"))?;
    let pre = pre_tokenizer(name).ok_or_else(|| refused(metadata, format!("pre-tokeniser `{name}` is not known")))?;
    let merges = metadata.texts("tokenizer.ggml.merges")?;
    let merges = merges.ok_or_else(|| ConvertError::from(metadata.missing("tokenizer.ggml.merges")))?;
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in merges {
        // The first character may itself be a blank.
        let after_first = merge.char_indices().nth(1).map_or(merge.len(), |(at, _)| at);
        let split = merge.get(after_first..).and_then(|rest| rest.find(' ')).map(|at| after_first + at);
        let pair = split.and_then(|at| Some((merge.get(..at)?, merge.get(at + 1..)?)));
        let known = |(left, right): &(&str, &str)| {
            let joined = format!("{left}{right}");
            [left, right, joined.as_str()].iter().all(|text| vocabulary.id(text).is_some())
        };
        let Some((left, right)) = pair.filter(known) else {
            return Err(refused(metadata, format!("merge {merge:?} does not fit its vocabulary")));
        };
        pairs.push(json!([left, right]));
    }
    let pre_tokenizer = match <[Value; 1]>::try_from(pre.steps) {
        Ok([step]) => step,
        Err(steps) => json!({ "type": "Sequence", "pretokenizers": steps }),
    };
    let model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": pre.ignore_merges,
        "vocab": vocabulary.vocab(),
        "merges": pairs,
    });
    let decoder = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
    Ok((Parts { normalizer: pre.normalizer, pre_tokenizer, decoder, model }, pre.add_bos))
}
