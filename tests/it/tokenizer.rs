//! Tokens, pairs and chat renderings against transformers and lm-eval (`fixtures/tokenizer`).

use std::path::PathBuf;

use billon::internal::sha256_bytes;
use billon::internal::{Message, Tokenizer, TokenizerError};
use serde_json::Value;

use crate::context::{fixture, shared};

fn check(name: &str, directory: PathBuf, expected: &Value) {
    let tokenizer = Tokenizer::open(&directory).unwrap();
    let token = |t: Option<(&str, u32)>| t.map_or(serde_json::json!([null, null]), |(t, i)| serde_json::json!([t, i]));
    assert_eq!(token(tokenizer.bos()), expected["bos"], "{name}");
    assert_eq!(token(tokenizer.eos()), expected["eos"], "{name}");
    assert_eq!(token(tokenizer.pad()), expected["pad"], "{name}");
    assert_eq!(tokenizer.vocabulary_size() as u64, expected["size"].as_u64().unwrap(), "{name}");
    let ids =
        |value: &Value| -> Vec<u32> { value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect() };
    for (encoded, decoded) in
        expected["encoded"].as_array().unwrap().iter().zip(expected["decoded"].as_array().unwrap())
    {
        let text = encoded[0].as_str().unwrap();
        let found = tokenizer.encode(text, true).unwrap();
        assert_eq!(found, ids(&encoded[1]), "{name}: {text:?}");
        assert_eq!(tokenizer.decode(&found, true).unwrap(), decoded[1].as_str().unwrap(), "{name}: {text:?}");
    }
    for pair in expected["pairs"].as_array().unwrap() {
        let (context, continuation) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        let found = tokenizer.encode_pair(context, continuation).unwrap();
        assert_eq!((found.context, found.continuation), (ids(&pair[2]), ids(&pair[3])), "{name}: {context:?}");
    }
    let renderings = expected["renderings"].as_array().unwrap();
    if renderings.is_empty() {
        assert!(matches!(tokenizer.chat_template(None), Err(TokenizerError::NoChatTemplate { .. })));
        return;
    }
    let template = tokenizer.chat_template(None).unwrap();
    for rendering in renderings {
        let turns = rendering[0].as_array().unwrap();
        let messages: Vec<Message> =
            turns.iter().map(|t| Message::new(t[0].as_str().unwrap(), t[1].as_str().unwrap())).collect();
        let continued = rendering[1].as_bool().unwrap();
        let found = match template.render(&messages, !continued, continued) {
            Ok(text) => sha256_bytes(text.as_bytes()),
            Err(error) => format!("refused: {error}"),
        };
        let expected = rendering[2].as_str().unwrap();
        if expected.starts_with("refused") {
            assert!(found.starts_with("refused"), "{name}: {messages:?}");
        } else {
            assert_eq!(
                found,
                expected,
                "{name}: {messages:?}: {:?}",
                template.render(&messages, !continued, continued)
            );
        }
    }
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture("tokenizer/expected.json")).unwrap()).unwrap()
}

#[test]
fn a_tiny_tokenizer_agrees_with_transformers_and_the_harness() {
    check("tiny", fixture("tokenizer/tiny"), &expected()["tiny"]);
}

#[test]
fn real_tokenizers_and_templates_agree_with_transformers_and_the_harness() {
    let Some(shared) = shared("models") else { return };
    let expected = expected();
    for name in
        ["llama-2", "llama-3-instruct", "mistral-v0.3-instruct", "phi-3-mini-instruct", "qwen2.5-instruct", "gpt2"]
    {
        check(name, shared.join("tokenizers").join(name), &expected[name]);
    }
    check("smollm2", shared.join("smollm2-135m-instruct"), &expected["smollm2-135m-instruct"]);
}

#[test]
fn a_missing_or_damaged_tokenizer_is_named_with_its_cure() {
    use billon::internal::Diagnose;
    let context = crate::context::Context::new();
    let directory = context.path("model");
    std::fs::create_dir_all(&directory).unwrap();
    let error = Tokenizer::open(&directory).unwrap_err();
    assert!(matches!(error, TokenizerError::Missing { sentencepiece: false, .. }));
    context.write("model/tokenizer.model", "");
    let error = Tokenizer::open(&directory).unwrap_err();
    assert!(error.hints()[0].contains("save_pretrained"), "{:?}", error.hints());
    context.write("model/tokenizer.json", "{\"version\": 1}");
    let error = Tokenizer::open(&directory).unwrap_err();
    assert!(error.to_string().contains("tokenizer.json is not a tokenizer"), "{error}");
}
