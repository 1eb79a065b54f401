//! The model before anyone trained it: a tokenizer, a configuration, random weights.

use std::path::Path;

use serde_json::json;

use super::text::{Sample, pretraining};
use crate::checkpoint::header::Header;
use crate::dtype::DType;
use crate::error::{Diagnose, ErrorKind, Result};
use crate::rng::{Philox, stream_key};
use crate::storage::publish::WriteError;
use crate::storage::staging::StagingDir;
use crate::tokenizer::train::train_byte_level;

/// Special tokens, in the order of their ids.
pub(crate) const SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Turns between markers (`ChatML`); the assistant's is opened on demand.
pub(crate) const CHAT_TEMPLATE: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\
    {% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const VOCABULARY: u64 = 1280;
const HIDDEN: u64 = 160;
const INTERMEDIATE: u64 = 400;
const LAYERS: usize = 6;
const HEADS: u64 = 5;
const LENGTH: u64 = 256;
/// Standard deviation of the starting weights.
const SPREAD: f64 = 0.02;

/// The tokenizer could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the demo's tokenizer: {0}")]
struct TokenizerFault(String);

impl Diagnose for TokenizerFault {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

/// Publishes an untrained Llama of 2.0 million parameters as a model directory that must not exist
/// yet: `config.json`, `model.safetensors` (f32, normal with standard deviation 0.02, norms 1),
/// `tokenizer.json` (byte-level BPE of 1280 tokens learnt from the pre-training data of `seed`) and
/// `tokenizer_config.json` with the chat template. The same seed gives the same bytes.
///
/// # Errors
/// A directory with files in it, and what the operating system says.
pub fn write_untrained(directory: &Path, seed: u64) -> Result<()> {
    let staging = StagingDir::create(directory, false)?;
    write_tokenizer(&staging, seed)?;
    write_text(&staging, "config.json", &config())?;
    write_weights(&staging, seed)?;
    staging.publish()?;
    Ok(())
}

fn write_text(staging: &StagingDir, name: &str, value: &serde_json::Value) -> Result<(), WriteError> {
    staging.write(name, format!("{value:#}\n").as_bytes())
}

fn write_tokenizer(staging: &StagingDir, seed: u64) -> Result<()> {
    let samples = pretraining(seed);
    // A chat is counted with its roles, which stand in every prompt.
    let texts = samples.iter().flat_map(|sample| match sample {
        Sample::Chat(asked, answer) => ["user\n", asked.as_str(), "assistant\n", answer],
        Sample::Plain(text) => [text.as_str(), "", "", ""],
    });
    let bytes = train_byte_level(texts, VOCABULARY as usize, &SPECIAL_TOKENS).map_err(TokenizerFault)?;
    staging.write("tokenizer.json", &bytes)?;
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": null,
        "clean_up_tokenization_spaces": false,
        "model_max_length": LENGTH,
        "chat_template": CHAT_TEMPLATE,
    });
    Ok(write_text(staging, "tokenizer_config.json", &config)?)
}

fn config() -> serde_json::Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": HIDDEN / HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": LENGTH,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "bos_token_id": null,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "initializer_range": SPREAD,
        "torch_dtype": "float32",
    })
}

/// Names and shapes, in the order of the file.
fn shapes() -> Vec<(String, Vec<u64>)> {
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN])];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.v_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("mlp.gate_proj", vec![INTERMEDIATE, HIDDEN]),
            ("mlp.up_proj", vec![INTERMEDIATE, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, INTERMEDIATE]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    shapes.push(("model.norm.weight".to_owned(), vec![HIDDEN]));
    shapes
}

fn write_weights(staging: &StagingDir, seed: u64) -> Result<(), WriteError> {
    let shapes = shapes();
    let tensors: Vec<_> = shapes.iter().map(|(name, shape)| (name.as_str(), DType::F32, shape.as_slice())).collect();
    let mut bytes = Header::build(&tensors);
    for (name, shape) in &shapes {
        let stream = Philox::new(stream_key(seed, &["demo", name]));
        for element in 0..shape.iter().product() {
            let value = if shape.len() == 1 { 1.0 } else { (SPREAD * normal(stream, element)) as f32 };
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    staging.write("model.safetensors", &bytes)
}

/// Nearly normal with variance 1: twelve uniform numbers added as integers, so that no library
/// function rounds and the weights are the same on every machine.
fn normal(stream: Philox, element: u64) -> f64 {
    let words = (0..3).flat_map(|block| stream.block(3 * element + block));
    let sum: i64 = words.map(i64::from).sum();
    (sum - 6 * (1 << 32)) as f64 / (1_i64 << 32) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_opens_and_its_tokenizer_is_short_and_complete() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().join("a"), folder.path().join("b")];
        for path in &paths {
            write_untrained(path, 0).unwrap();
        }
        for file in ["tokenizer.json", "model.safetensors", "config.json", "tokenizer_config.json"] {
            let bytes = paths.each_ref().map(|path| std::fs::read(path.join(file)).unwrap());
            assert!(bytes[0] == bytes[1], "{file}");
        }
        let directory = crate::checkpoint::ModelDir::open(&paths[0]).unwrap();
        let elements: u64 = shapes().iter().map(|(_, shape)| shape.iter().product::<u64>()).sum();
        assert_eq!((directory.tensors().len(), elements), (shapes().len(), 1_973_280));
        crate::model::Decoder::open(&directory, &crate::model::DecoderOptions::default()).unwrap();
        let tokenizer = crate::tokenizer::Tokenizer::open(&paths[0]).unwrap();
        assert!((1000..=VOCABULARY as usize).contains(&tokenizer.vocabulary_size()), "{}", tokenizer.vocabulary_size());
        assert_eq!((tokenizer.eos(), tokenizer.bos()), (Some(("<|im_end|>", 2)), None));
        let chat = tokenizer.chat_template(None).unwrap();
        let (mut tokens, mut letters) = (0, 0);
        for sample in pretraining(0).iter().step_by(50) {
            let text = match sample {
                Sample::Chat(asked, answer) => {
                    let messages = [
                        crate::tokenizer::Message::new("user", asked),
                        crate::tokenizer::Message::new("assistant", answer),
                    ];
                    chat.render(&messages, false, false).unwrap()
                }
                Sample::Plain(text) => text.clone(),
            };
            let ids = tokenizer.encode(&text, true).unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
            assert!(ids.len() < 128, "{text}");
            tokens += ids.len();
            letters += text.len();
        }
        assert!(letters > 3 * tokens, "{letters} letters, {tokens} tokens");
    }

    #[test]
    fn starting_weights_are_nearly_normal() {
        let stream = Philox::new(1);
        let values: Vec<f64> = (0..20_000).map(|element| normal(stream, element)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
