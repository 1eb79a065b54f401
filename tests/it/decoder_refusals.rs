//! What the decoder refuses, and that each refusal names file, key, value or tensor.

use std::path::Path;

use billon::internal::Adapter;
use billon::internal::ModelDir;
use billon::internal::{Decoder, DecoderOptions, RopeFactors, Segment, WeightedAdapter};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::context::fixture;

/// A copy of a tiny model with some config keys changed (null removes a key).
fn edited(family: &str, edits: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("models").join(family);
    std::fs::copy(source.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let text = std::fs::read(source.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    for (key, value) in edits.as_object().unwrap() {
        if value.is_null() {
            config.as_object_mut().unwrap().remove(key);
        } else {
            config[key] = value.clone();
        }
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

fn refusal(folder: &Path) -> (String, String) {
    let model = ModelDir::open(folder).unwrap();
    let error = Decoder::open(&model, &DecoderOptions::default()).expect_err("should be refused");
    (error.to_string(), error.hints().join(" "))
}

#[test]
fn configs_that_would_be_misread_are_refused_by_key_and_value() {
    for (family, edits, expected) in [
        ("llama", json!({"model_type": "mamba"}), "model_type `mamba`"),
        ("llama", json!({"model_type": null}), "`model_type` is missing"),
        ("llama", json!({"hidden_size": null}), "`hidden_size` is missing"),
        ("llama", json!({"hidden_size": "24"}), "`hidden_size` is \"24\""),
        ("llama", json!({"num_attention_heads": 0}), "`num_attention_heads` is 0"),
        ("llama", json!({"num_key_value_heads": 3}), "`num_key_value_heads` is 3"),
        ("llama", json!({"num_hidden_layers": 9_000_000_000_u64}), "`num_hidden_layers`"),
        ("llama", json!({"hidden_act": "relu"}), "`hidden_act` is \"relu\""),
        ("llama", json!({"rms_norm_eps": -1}), "`rms_norm_eps` is -1"),
        ("llama", json!({"vocab_size": 66}), "`model.embed_tokens.weight` has shape [67, 24]"),
        ("llama", json!({"num_hidden_layers": 4}), "`model.layers.3."),
        ("llama", json!({"tie_word_embeddings": false}), "`lm_head.weight` is missing"),
        ("llama", json!({"rope_parameters": null, "rope_scaling": {"type": "ntk"}}), "`rope_scaling.type` is \"ntk\""),
        ("llama", json!({"rope_parameters": {"rope_type": "linear"}}), "`rope_parameters.factor` is missing"),
        ("llama", json!({"rope_parameters": 3}), "`rope_parameters` is 3"),
        (
            "phi3",
            json!({"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}),
            "short_factor` is [1.0]",
        ),
        ("qwen3", json!({"layer_types": ["full_attention"]}), "names 1 layers of 3"),
        ("qwen3", json!({"layer_types": ["full_attention", "linear_attention", "full_attention"]}), "layer_types"),
        ("gemma3", json!({"attn_logit_softcapping": 5.0}), "`attn_logit_softcapping` is 5.0"),
        ("gemma2", json!({"use_bidirectional_attention": true}), "use_bidirectional_attention"),
    ] {
        let folder = edited(family, &edits);
        let (message, hints) = refusal(folder.path());
        assert!(message.contains(expected), "{edits}: {message}");
        assert!(message.contains(&folder.path().display().to_string()), "{message}");
        assert!(!hints.is_empty(), "{message}");
    }
    let (_, hints) = refusal(edited("llama", &json!({"model_type": "mamba"})).path());
    assert!(hints.contains("qwen3") && hints.contains("gemma2"), "{hints}");
}

#[test]
fn eos_tokens_come_from_the_generation_config_first() {
    let folder = edited("llama", &json!({"eos_token_id": [2, 5]}));
    let open = || Decoder::open(&ModelDir::open(folder.path()).unwrap(), &DecoderOptions::default());
    assert_eq!(open().unwrap().eos_token_ids(), [2, 5]);
    let generation = folder.path().join("generation_config.json");
    std::fs::write(&generation, r#"{"eos_token_id": 7}"#).unwrap();
    assert_eq!(open().unwrap().eos_token_ids(), [7]);
    std::fs::write(&generation, r#"{"eos_token_id": "</s>"}"#).unwrap();
    assert!(open().unwrap_err().to_string().contains("`eos_token_id` is \"</s>\""));
}

/// A copy of an adapter with some config keys changed.
fn edited_adapter(edits: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("models/adapters/llama-plain");
    let weights = "adapter_model.safetensors";
    std::fs::copy(source.join(weights), folder.path().join(weights)).unwrap();
    let text = std::fs::read(source.join("adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    for (key, value) in edits.as_object().unwrap() {
        config[key] = value.clone();
    }
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn adapters_that_would_be_half_applied_are_refused() {
    for (edits, expected) in [
        (json!({"use_dora": true}), "has no magnitude, but `use_dora` is true"),
        (json!({"peft_type": "IA3"}), "`peft_type` is \"IA3\""),
        (json!({"modules_to_save": ["lm_head"]}), "`lm_head` is missing, though `modules_to_save`"),
        (json!({"ensure_weight_tying": true}), "`ensure_weight_tying`"),
        (json!({"bias": "all"}), "`bias` is \"all\""),
        (json!({"fan_in_fan_out": true}), "`fan_in_fan_out`"),
        (json!({"lora_bias": true}), "`lora_bias`"),
        (json!({"init_lora_weights": "pissa_niter_4"}), "`init_lora_weights`"),
        (json!({"layer_replication": [[0, 2], [1, 3]]}), "`layer_replication`"),
        (json!({"a_key_of_the_future": 3}), "`a_key_of_the_future` is 3"),
        (json!({"rank_pattern": {"(": 3}}), "`rank_pattern.(`"),
        (json!({"r": 5}), "the config makes it 5"),
        (json!({"lora_alpha": "x"}), "`lora_alpha` is \"x\""),
    ] {
        let folder = edited_adapter(&edits);
        let error = Adapter::open(folder.path()).expect_err("should be refused");
        assert!(error.to_string().contains(expected), "{edits}: {error}");
        assert!(!error.hints().is_empty());
    }
    let missing = Adapter::open(&fixture("models/llama")).unwrap_err();
    assert!(missing.to_string().contains("is no adapter"), "{missing}");
    // Another family's module names, and this family's under other shapes.
    for (family, expected) in [("phi3", "no linear layer of this model"), ("mistral", "x24, but its weight is")] {
        let adapter = Adapter::open(&fixture("models/adapters/llama-plain")).unwrap();
        let options =
            DecoderOptions { adapters: vec![WeightedAdapter { adapter, weight: 1.0 }], ..DecoderOptions::default() };
        let error = Decoder::open(&ModelDir::open(&fixture("models").join(family)).unwrap(), &options).unwrap_err();
        assert!(error.to_string().contains(expected), "{family}: {error}");
    }
}

fn segment(tokens: &[u32], factors: RopeFactors) -> Segment<'_> {
    Segment { tokens, past: Vec::new(), factors, keep: true }
}

#[test]
fn batches_are_checked() {
    let decoder = |family: &str| {
        let model = ModelDir::open(&fixture("models").join(family)).unwrap();
        Decoder::open(&model, &DecoderOptions::default()).unwrap()
    };
    let llama = decoder("llama");
    let run = |decoder: &Decoder, tokens: &[u32], wanted: &[usize]| {
        decoder.forward(&[segment(tokens, RopeFactors::Short)], wanted).unwrap_err().to_string()
    };
    assert!(run(&llama, &[3; 97], &[0]).contains("97 tokens is longer than the model's 96"));
    assert!(run(&llama, &[3, 67], &[0]).contains("token 67"));
    for (tokens, wanted) in [(&[][..], &[][..]), (&[3, 4], &[2]), (&[3, 4], &[1, 0])] {
        assert!(run(&llama, tokens, wanted).contains("rows"));
    }
    let phi3 = decoder("phi3");
    let past = phi3.forward(&[segment(&[3; 4], RopeFactors::Short)], &[]).unwrap().kept.swap_remove(0).unwrap();
    let mixed = Segment { tokens: &[5], past: vec![past], factors: RopeFactors::Long, keep: false };
    assert!(phi3.forward(&[mixed], &[0]).unwrap_err().to_string().contains("RoPE"));
}
