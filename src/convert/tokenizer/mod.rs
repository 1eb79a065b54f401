//! `tokenizer.json` and `tokenizer_config.json` from `tokenizer.ggml.*`.
//!
//! Two kinds are rebuilt: byte-level BPE (`gpt2`), whose pre-tokeniser the file only names, and
//! `SentencePiece` BPE (`llama`), whose merges follow from the scores. Anything else, and any name of
//! a pre-tokeniser that is not known here, is refused: a tokenizer that is nearly right is worse
//! than none.

pub(crate) mod byte_level;
mod parts;
mod rebuild;
pub(crate) mod sentencepiece;
pub(crate) mod vocabulary;

pub(crate) use rebuild::rebuild;
