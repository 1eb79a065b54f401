//! `billon convert` against tensors, configs and token ids that others made
//! (`fixtures/gguf/make_gguf.py`).

use std::path::{Path, PathBuf};

use billon::internal::sha256_bytes;
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

use super::context::{Context, fixture};

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("gguf/expected.json")).unwrap()).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn converted(context: &Context, name: &str, inputs: &[PathBuf], options: &[&str]) -> PathBuf {
    let out = context.path(name);
    let mut command = context.command();
    let output = command.arg("convert").args(inputs).arg(&out).args(options).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    out
}

fn failure(context: &Context, inputs: &[PathBuf], options: &[&str]) -> String {
    let out = context.path("failed");
    let output = context.command().arg("convert").args(inputs).arg(&out).args(options).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!out.exists() && context.leftovers().is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// Every tensor has the bits that the gguf package's dequantisation gives in transformers' layout.
#[test]
fn tensors_are_those_of_the_gguf_package_to_the_bit() {
    let context = Context::new();
    for (name, model) in expected().as_object().unwrap() {
        let out = converted(&context, name, &[fixture(&format!("gguf/{name}.gguf"))], &["--dtype", "f32", "-q"]);
        let bytes = std::fs::read(out.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let model = model["tensors"].as_object().unwrap();
        assert_eq!(tensors.len(), model.len(), "{name}");
        for (tensor, expected) in model {
            let found = tensors.tensor(tensor).unwrap();
            assert_eq!(serde_json::json!(found.shape()), expected["shape"], "{name} {tensor}");
            assert_eq!(sha256_bytes(found.data()), expected["sha256"].as_str().unwrap(), "{name} {tensor}");
        }
    }
}

#[test]
fn configs_say_what_the_original_models_say() {
    let context = Context::new();
    for (name, model) in expected().as_object().unwrap() {
        let out = converted(&context, name, &[fixture(&format!("gguf/{name}.gguf"))], &["-q"]);
        let config = json(&out.join("config.json"));
        for (key, expected) in model["config"].as_object().unwrap() {
            // Windows that a family's config has but does not use by default.
            if config.get(key).is_none() && (key == "sliding_window" || expected.is_null()) {
                continue;
            }
            assert_eq!(&config[key], expected, "{name} {key}");
        }
        let rope = &model["rope_parameters"];
        let rope = rope.get("full_attention").unwrap_or(rope);
        assert_eq!(config["rope_theta"], rope["rope_theta"], "{name}");
        for key in ["factor", "low_freq_factor", "high_freq_factor", "long_factor", "short_factor"] {
            if let Some(expected) = rope.get(key) {
                assert_eq!(&config["rope_scaling"][key], expected, "{name} {key}");
            }
        }
    }
}

/// Rebuilt tokenizers give the ids that other libraries gave.
#[test]
fn tokenizers_give_the_original_ids() {
    let context = Context::new();
    let mut texts = 0;
    for (name, model) in expected().as_object().unwrap() {
        let ids = model["token_ids"].as_object().unwrap();
        if ids.is_empty() {
            continue;
        }
        let out = converted(&context, name, &[fixture(&format!("gguf/{name}.gguf"))], &["-q"]);
        let tokenizer = tokenizers::Tokenizer::from_file(out.join("tokenizer.json")).unwrap();
        for (text, expected) in ids {
            let found = tokenizer.encode(text.as_str(), true).unwrap();
            assert_eq!(serde_json::json!(found.get_ids()), *expected, "{name} {text:?}");
            texts += 1;
        }
    }
    assert!(texts > 70, "{texts}");
}

/// Pieces cut anywhere, shards and another stored type change nothing else.
#[test]
fn pieces_and_shards_hold_the_same_model() {
    let context = Context::new();
    let whole = fixture("gguf/llama3.gguf");
    let once = converted(&context, "once", std::slice::from_ref(&whole), &["-q", "-j", "1"]);
    let bytes = std::fs::read(&whole).unwrap();
    let mut pieces = Vec::new();
    // The first cut is inside the header, the last inside a tensor.
    for (index, range) in [0..999, 999..40_001, 40_001..bytes.len()].into_iter().enumerate() {
        let path = context.path(&format!("x.gguf.part{index}"));
        std::fs::write(&path, &bytes[range]).unwrap();
        pieces.push(path);
    }
    let parts = converted(&context, "parts", &pieces, &["-q"]);
    let weights = |out: &Path| std::fs::read(out.join("model.safetensors")).unwrap();
    assert!(weights(&once) == weights(&parts));
    let shards = converted(&context, "shards", &[whole], &["-q", "--max-shard-size", "20KB"]);
    let index = json(&shards.join("model.safetensors.index.json"));
    let once = weights(&once);
    let once = SafeTensors::deserialize(&once).unwrap();
    for (tensor, shard) in index["weight_map"].as_object().unwrap() {
        let shard = std::fs::read(shards.join(shard.as_str().unwrap())).unwrap();
        let shard = SafeTensors::deserialize(&shard).unwrap();
        assert_eq!(shard.tensor(tensor).unwrap().data(), once.tensor(tensor).unwrap().data(), "{tensor}");
        assert_eq!(shard.tensor(tensor).unwrap().dtype(), safetensors::Dtype::F16);
    }
    assert_eq!(pieces.len(), 3);
    let message = failure(&context, &pieces[..2], &[]);
    assert!(message.contains("truncated") && message.contains("parts in order"), "{message}");
}

#[test]
fn like_takes_the_original_files_and_refuses_another_model() {
    let context = Context::new();
    let original = converted(&context, "original", &[fixture("gguf/llama-spm.gguf")], &["-q"]);
    std::fs::write(original.join("chat_template.jinja"), "{{ messages }}").unwrap();
    let like = original.to_str().unwrap();
    let options = ["-q", "--like", like, "--dtype", "bf16"];
    let out = converted(&context, "like", &[fixture("gguf/llama-spm.gguf")], &options);
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"] {
        assert!(std::fs::read(out.join(name)).unwrap() == std::fs::read(original.join(name)).unwrap(), "{name}");
    }
    let config = json(&out.join("config.json"));
    assert_eq!(config["torch_dtype"], "bfloat16");
    assert_eq!(config["vocab_size"], json(&original.join("config.json"))["vocab_size"]);
    let message = failure(&context, &[fixture("gguf/llama3.gguf")], &["--like", like]);
    assert!(message.contains("vocab_size") || message.contains("tie_word_embeddings"), "{message}");
}

#[test]
fn what_is_not_sound_is_refused_by_name() {
    let context = Context::new();
    let bytes = std::fs::read(fixture("gguf/qwen2.gguf")).unwrap();
    let changed = |name: &str, from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        let path = context.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let string = |text: &str| format!("{}\0\0\0\0\0\0\0{text}", char::from(text.len() as u8));
    for (name, from, to, expected) in [
        ("a", string("qwen2"), string("zwen2"), "architecture `zwen2`"),
        ("b", "tokenizer.ggml.pre".to_owned(), "tokenizer.ggml.prx".to_owned(), "--like"),
        ("c", string("blk.1.ffn_up.weight"), string("blk.2.ffn_up.weight"), "`blk.2.ffn_up.weight` has no place"),
        ("d", string("output_norm.weight"), string("output_nurm.weight"), "`output_nurm.weight` has no place"),
        ("e", "GGUF".to_owned(), "GGUX".to_owned(), "not a GGUF file"),
    ] {
        let message = failure(&context, &[changed(name, &from, &to)], &[]);
        assert!(message.contains(expected), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The whole conversion on damaged files: an error or a directory, never a panic.
    #[test]
    fn damaged_files_end_in_an_error_or_a_model(damage in prop::collection::vec((0_usize..9000, any::<u8>()), 1..4)) {
        let context = Context::new();
        let mut bytes = std::fs::read(fixture("gguf/llama-spm.gguf")).unwrap();
        for (at, value) in damage {
            bytes[at] = value;
        }
        let path = context.path("x.gguf");
        std::fs::write(&path, &bytes).unwrap();
        let options = billon::internal::ConvertOptions {
            like: None, dtype: None, max_shard_bytes: 1 << 30, force: false, workers: billon::internal::Workers::new(1),
        };
        let cancel = billon::internal::CancelFlag::new();
        let progress = billon::internal::Progress { reporter: &billon::internal::Silent, cancel: &cancel };
        let out = context.path("out");
        let result = billon::internal::convert(&[path], &out, &options, progress);
        prop_assert_eq!(result.is_ok(), out.exists());
    }
}

/// The real model of the shared folder; the sums are of the gguf package's dequantisation.
#[test]
fn the_real_smollm2_has_the_expected_weights() {
    let shared = std::env::var_os("BILLON_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let folder = shared.join("models/smollm2-135m-instruct");
    let parts = [folder.join("model.q4_1.gguf.part0"), folder.join("model.q4_1.gguf.part1")];
    if !parts.iter().all(|part| part.is_file()) {
        eprintln!("SKIPPED: {} has no model", folder.display());
        return;
    }
    let context = Context::new();
    let out = converted(&context, "smollm2", &parts, &["-q"]);
    let model = billon::internal::ModelDir::open(&out).unwrap();
    assert_eq!(model.tensors().len(), 272);
    for (name, expected) in [
        ("model.embed_tokens.weight", "3fd491c8066dd9dc1a2bf6796701526c82817d95c0ecabacdef3013c2b8bbbaa"),
        ("model.layers.0.self_attn.q_proj.weight", "54b377bbfa2deab945dfdba7fb59e0ca3eb74329358bd1b53b635b3ff37c1a56"),
        ("model.layers.29.self_attn.k_proj.weight", "8e99b2450d5f3d53731f52790cc82f80b04341e533306bcfee6669ffa3c79921"),
        ("model.layers.17.mlp.down_proj.weight", "50de9ec0dc8d5e57c885c69de05a1eb4ba2bd832883642b29a6919fb39b4774c"),
    ] {
        assert_eq!(sha256_bytes(model.bytes(&model.tensors()[name])), expected, "{name}");
    }
    let original = json(&folder.join("config.json"));
    let config = json(&out.join("config.json"));
    for key in
        ["hidden_size", "num_key_value_heads", "rope_theta", "rms_norm_eps", "tie_word_embeddings", "eos_token_id"]
    {
        assert_eq!(config[key], original[key], "{key}");
    }
    let ours = tokenizers::Tokenizer::from_file(out.join("tokenizer.json")).unwrap();
    let theirs = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    for text in ["Net profit rose 12.5% to €1,234 m.", "<|im_start|>user\nDon't  sell?<|im_end|>\n", "日本 \t\n\n x"]
    {
        let ids = |t: &tokenizers::Tokenizer| t.encode(text, true).unwrap().get_ids().to_vec();
        assert_eq!(ids(&ours), ids(&theirs), "{text:?}");
    }
}
