//! Making a tokenizer of one's own: byte-level BPE over a corpus.

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, Result, TokenizerBuilder};

/// The bytes of a `tokenizer.json`: byte-level BPE of `vocabulary_size` tokens learnt from `texts`,
/// `special` tokens first, digits one by one, nothing added around a text.
///
/// Every text can be represented, since all bytes are tokens. The same texts in the same order give
/// the same bytes.
///
/// # Errors
/// Errors of the tokenizers library, as text.
pub(crate) fn train_byte_level<'a>(
    texts: impl Iterator<Item = &'a str> + Send,
    vocabulary_size: usize,
    special: &[&str],
) -> std::result::Result<Vec<u8>, String> {
    train(texts, vocabulary_size, special).map_err(|error| error.to_string())
}

fn train<'a>(texts: impl Iterator<Item = &'a str> + Send, size: usize, special: &[&str]) -> Result<Vec<u8>> {
    let bytes = ByteLevel::new(false, true, true);
    let pieces =
        Sequence::new(vec![PreTokenizerWrapper::Digits(Digits::new(true)), PreTokenizerWrapper::ByteLevel(bytes)]);
    let mut tokenizer =
        TokenizerBuilder::<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>::new()
            .with_model(BPE::default())
            .with_normalizer(None)
            .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(pieces)))
            .with_post_processor(None)
            .with_decoder(Some(DecoderWrapper::ByteLevel(bytes)))
            .build()?;
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(size)
        .min_frequency(2)
        .special_tokens(special.iter().map(|text| AddedToken::from(*text, true)).collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, texts)?;
    Ok(tokenizer.to_string(true)?.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_written_and_nothing_is_lost() {
        let texts = ["net profit rose by 12 percent", "net profit fell", "net debt rose"];
        let bytes = train_byte_level(texts.into_iter(), 280, &["<|end|>"]).unwrap();
        assert_eq!(bytes, train_byte_level(texts.into_iter(), 280, &["<|end|>"]).unwrap());
        let tokenizer = tokenizers::Tokenizer::from_bytes(&bytes).unwrap();
        assert_eq!(tokenizer.token_to_id("<|end|>"), Some(0));
        assert!(tokenizer.get_vocab_size(true) <= 280);
        for text in ["net profit rose", "Zürich 1234 \n\t€<|end|>"] {
            let ids = tokenizer.encode_fast(text, true).unwrap();
            assert_eq!(tokenizer.decode(ids.get_ids(), false).unwrap(), text);
        }
        // Learnt pieces: far fewer tokens than letters.
        assert!(tokenizer.encode_fast("net profit rose", true).unwrap().len() <= 6);
        assert_eq!(tokenizer.encode_fast("1234", true).unwrap().len(), 4);
    }
}
