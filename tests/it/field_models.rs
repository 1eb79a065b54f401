//! Checkpoints as they are found in the field: names that differ by a prefix, buffers, several stacks
//! of layers, layers of multi-token prediction.

use std::path::Path;

use safetensors::Dtype;

use crate::checkpoint::{self, Numbers, Stored, Tensors};
use crate::context::Context;

fn normal(seed: u64, shape: &[usize]) -> Stored {
    let mut numbers = Numbers(seed);
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| f64::from(numbers.normal() as f32)).collect();
    Stored::new(Dtype::F32, shape, &values)
}

/// Tensors of these names and shapes, drawn from a seed and the name's place.
fn tensors(seed: u64, names: &[(&str, &[usize])]) -> Tensors {
    let one =
        |(i, (name, shape)): (usize, &(&str, &[usize]))| ((*name).to_owned(), normal(seed * 1000 + i as u64, shape));
    names.iter().enumerate().map(one).collect()
}

fn renamed(tensors: &Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.iter().map(|(name, stored)| (rename(name), stored.clone())).collect()
}

fn integers(values: &[i64]) -> Stored {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Stored { dtype: Dtype::I64, shape: vec![1, values.len()], bytes }
}

const OPTIONS: &[&str] = &["--force"];

fn recipe(method: &str, base: Option<&str>, models: &[(&str, &str)], more: &str) -> String {
    let mut text = format!("merge_method: {method}\n{more}");
    if let Some(base) = base {
        text += &format!("base_model: {base}\n");
    }
    text += "models:\n";
    for (model, parameters) in models {
        text += &format!("- model: {model}\n  parameters: {{{parameters}}}\n");
    }
    text
}

/// Merges in the context's folder, so that recipes name models by their last name.
fn merge(context: &Context, name: &str, text: &str) -> (Tensors, String) {
    let run = try_merge(context, name, text);
    assert_eq!(run.0, Some(0), "{}", run.1);
    (checkpoint::read(&context.path(name)), run.1)
}

fn try_merge(context: &Context, name: &str, text: &str) -> (Option<i32>, String) {
    let file = context.write(&format!("{name}.yml"), text);
    let mut command = context.command();
    command.current_dir(file.parent().unwrap()).arg("merge").arg(&file).arg(context.path(name)).args(OPTIONS);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn write(context: &Context, name: &str, tensors: &Tensors, config: &str) {
    checkpoint::write(&context.path(name), tensors, Some(config));
}

fn config(directory: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(directory.join("config.json")).unwrap()).unwrap()
}

const GPT2: &str = r#"{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": 2}"#;

#[test]
fn a_hub_base_without_the_prefix_of_its_fine_tunes_is_merged_as_if_renamed_by_hand() {
    let context = Context::new();
    let names: &[(&str, &[usize])] = &[
        ("h.0.attn.c_attn.weight", &[4, 12]),
        ("h.0.ln_1.bias", &[4]),
        ("h.1.attn.c_attn.weight", &[4, 12]),
        ("h.1.ln_1.bias", &[4]),
        ("ln_f.weight", &[4]),
        ("wte.weight", &[9, 4]),
    ];
    let mut base = tensors(1, names);
    let wrapped = |tensors: &Tensors| renamed(tensors, |name| format!("transformer.{name}"));
    write(&context, "base_by_hand", &wrapped(&base), GPT2);
    let mask = Stored::new(Dtype::F32, &[1, 1, 2, 2], &[1.0, 0.0, 1.0, 1.0]);
    base.insert("h.0.attn.bias".to_owned(), mask.clone());
    write(&context, "base", &base, GPT2);
    for (seed, name) in [(2, "one"), (3, "two")] {
        let mut tuned = wrapped(&tensors(seed, names));
        tuned.insert("lm_head.weight".to_owned(), normal(seed, &[9, 4]));
        write(&context, name, &tuned, GPT2);
    }
    let text = |base: &str| {
        let models = [("one", "weight: 0.5, density: 0.5"), ("two", "weight: 0.3, density: 0.5")];
        recipe("ties", Some(base), &models, "dtype: float32\n")
    };
    let (by_hand, _) = merge(&context, "by_hand", &text("base_by_hand"));
    let (merged, stderr) = merge(&context, "merged", &text("base"));
    assert!(stderr.contains("`transformer.*` stands for `*`"), "{stderr}");
    assert!(stderr.contains("`h.0.attn.bias` is missing from `one`, `two`"), "{stderr}");
    let mut expected = renamed(&by_hand, |name| name.trim_start_matches("transformer.").to_owned());
    expected.insert("h.0.attn.bias".to_owned(), mask);
    assert_eq!(merged, expected);
    // The other way round the fine-tune's names are kept.
    let text = recipe("linear", None, &[("one", "weight: 0.5"), ("base_by_hand", "weight: 0.5")], "");
    let (by_hand, _) = merge(&context, "linear_by_hand", &text);
    let (mut merged, _) = merge(&context, "linear", &text.replace("base_by_hand", "base"));
    assert!(merged.remove("transformer.h.0.attn.bias").is_some());
    assert_eq!(merged, by_hand);
}

#[test]
fn multimodal_models_of_before_and_after_the_rename_are_merged() {
    let context = Context::new();
    let config = r#"{"architectures": ["X"], "text_config": {"num_hidden_layers": 2}}"#;
    let old: &[(&str, &[usize])] = &[
        ("language_model.lm_head.weight", &[9, 4]),
        ("language_model.model.embed_tokens.weight", &[9, 4]),
        ("language_model.model.layers.0.mlp.up_proj.weight", &[4, 4]),
        ("language_model.model.layers.1.mlp.up_proj.weight", &[4, 4]),
        ("language_model.model.norm.weight", &[4]),
        ("multi_modal_projector.mm_input_projection_weight", &[4, 4]),
        ("vision_tower.encoder.layers.0.mlp.up_proj.weight", &[4, 4]),
        ("vision_tower.encoder.layers.1.mlp.up_proj.weight", &[4, 4]),
        ("vision_tower.norm.weight", &[4]),
    ];
    let new_name = |name: &str| match name.strip_prefix("language_model.") {
        Some("lm_head.weight") => "lm_head.weight".to_owned(),
        Some(rest) => format!("model.language_model.{}", rest.trim_start_matches("model.")),
        None => format!("model.{name}"),
    };
    let (base, tuned) = (tensors(1, old), tensors(2, old));
    write(&context, "base", &base, config);
    write(&context, "tuned", &tuned, config);
    write(&context, "tuned_new", &renamed(&tuned, new_name), config);
    let text = recipe("task_arithmetic", Some("base"), &[("tuned", "weight: [0.2, 0.8]")], "");
    let (by_hand, _) = merge(&context, "by_hand", &text);
    let (merged, stderr) = merge(&context, "merged", &text.replace("model: tuned", "model: tuned_new"));
    assert_eq!(merged, by_hand);
    assert!(stderr.contains("`model.language_model.*` stands for `language_model.model.*`"), "{stderr}");
    // The vision tower's layers follow the gradient too, the projector takes its first value.
    let weight = |name: &str| {
        let (m, b, t) = (merged[name].values()[0], base[name].values()[0], tuned[name].values()[0]);
        (m - b) / (t - b)
    };
    assert!((weight("vision_tower.encoder.layers.1.mlp.up_proj.weight") - 0.8).abs() < 1e-5);
    assert!((weight("multi_modal_projector.mm_input_projection_weight") - 0.2).abs() < 1e-5);
}

#[test]
fn a_prefix_that_could_stand_for_two_is_refused_in_one_message() {
    let context = Context::new();
    let config = r#"{"architectures": ["X"], "num_hidden_layers": 2}"#;
    let layers: &[(&str, &[usize])] = &[("layers.0.q.weight", &[4, 4]), ("layers.1.q.weight", &[4, 4])];
    let towers: &[(&str, &[usize])] = &[
        ("text.layers.0.q.weight", &[4, 4]),
        ("text.layers.1.q.weight", &[4, 4]),
        ("vision.layers.0.q.weight", &[4, 4]),
        ("vision.layers.1.q.weight", &[4, 4]),
    ];
    write(&context, "plain", &tensors(1, layers), config);
    write(&context, "towers", &tensors(2, towers), config);
    let (code, stderr) =
        try_merge(&context, "out", &recipe("linear", None, &[("towers", "weight: 1"), ("plain", "weight: 1")], ""));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("1 problem in") && stderr.contains("`text.layers.0.q.weight` or `vision."), "{stderr}");
    // Names that no prefix explains are one message as well.
    let other: &[(&str, &[usize])] = &[("blocks.0.a.weight", &[4, 4]), ("blocks.1.a.weight", &[4, 4])];
    write(&context, "other", &tensors(3, other), config);
    let (code, stderr) =
        try_merge(&context, "out", &recipe("linear", None, &[("towers", "weight: 1"), ("other", "weight: 1")], ""));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("1 problem in") && stderr.contains("no tensor name in common"), "{stderr}");
}

const LLAMA: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2}"#;
const LAYERS: &[(&str, &[usize])] = &[
    ("model.embed_tokens.weight", &[9, 4]),
    ("model.layers.0.mlp.up_proj.weight", &[4, 4]),
    ("model.layers.1.mlp.up_proj.weight", &[4, 4]),
    ("model.norm.weight", &[4]),
];

fn with_frequencies(mut tensors: Tensors, values: &[f64]) -> Tensors {
    for layer in 0..2 {
        let name = format!("model.layers.{layer}.self_attn.rotary_emb.inv_freq");
        tensors.insert(name, Stored::new(Dtype::F32, &[2], values));
    }
    tensors
}

#[test]
fn rotary_buffers_keep_their_bytes_and_may_be_missing_from_some_models() {
    let context = Context::new();
    let name = "model.layers.1.self_attn.rotary_emb.inv_freq";
    let frequencies = [1.0, 0.013_371_337];
    write(&context, "plain", &tensors(1, LAYERS), LLAMA);
    write(&context, "tuned", &with_frequencies(tensors(2, LAYERS), &frequencies), LLAMA);
    write(&context, "again", &with_frequencies(tensors(3, LAYERS), &frequencies), LLAMA);
    write(&context, "other", &with_frequencies(tensors(3, LAYERS), &[1.0, 0.5]), LLAMA);
    let exact = Stored::new(Dtype::F32, &[2], &frequencies);
    let half = "dtype: bfloat16\n";
    // Only the fine-tune has them, only the base, and both; a doubled weight does not double them.
    for (text, missing) in [
        (recipe("ties", Some("plain"), &[("tuned", "weight: 1, density: 0.5")], half), true),
        (recipe("ties", Some("tuned"), &[("plain", "weight: 1, density: 0.5")], half), true),
        (recipe("slerp", Some("plain"), &[("tuned", "")], "dtype: bfloat16\nparameters: {t: 0.3}\n"), true),
        (
            recipe(
                "linear",
                None,
                &[("tuned", "weight: 2"), ("again", "weight: 2")],
                "parameters: {normalize: false}\n",
            ),
            false,
        ),
        (recipe("passthrough", None, &[("tuned", "scale: 3")], half), false),
    ] {
        let (merged, stderr) = merge(&context, "out", &text);
        assert_eq!(merged[name], exact, "{text}");
        let said = stderr
            .contains("buffer `model.layers.0.self_attn.rotary_emb.inv_freq` and 1 other are missing from `plain`");
        assert_eq!(said, missing, "{text}: {stderr}");
    }
    // Tables that differ are the config source's, and that is said.
    let (merged, stderr) =
        merge(&context, "out", &recipe("linear", None, &[("tuned", "weight: 1"), ("other", "weight: 1")], ""));
    assert_eq!(merged[name], exact);
    assert!(stderr.contains("not the same in `other` and copied from `tuned`"), "{stderr}");
}

#[test]
fn position_ids_of_one_model_are_a_buffer_and_no_embedding() {
    let context = Context::new();
    let bert = r#"{"architectures": ["BertModel"], "model_type": "bert", "num_hidden_layers": 2}"#;
    let names: &[(&str, &[usize])] = &[
        ("embeddings.position_embeddings.weight", &[5, 4]),
        ("embeddings.word_embeddings.weight", &[9, 4]),
        ("encoder.layer.0.output.dense.weight", &[4, 4]),
        ("encoder.layer.1.output.dense.weight", &[4, 4]),
    ];
    let (mut old, new) = (tensors(1, names), tensors(2, names));
    let positions = integers(&[0, 1, 2, 3, 4]);
    old.insert("embeddings.position_ids".to_owned(), positions.clone());
    write(&context, "old", &old, bert);
    write(&context, "new", &new, bert);
    for models in [["old", "new"], ["new", "old"]] {
        let models = models.map(|model| (model, "weight: 0.5"));
        let (merged, stderr) = merge(&context, "out", &recipe("linear", None, &models, "dtype: float32\n"));
        assert_eq!(merged["embeddings.position_ids"], positions);
        assert!(stderr.contains("buffer `embeddings.position_ids` is missing from `new`"), "{stderr}");
        let word = "embeddings.word_embeddings.weight";
        let mean: Vec<f64> =
            old[word].values().iter().zip(new[word].values()).map(|(a, b)| f64::midpoint(*a, b)).collect();
        assert!(merged[word].values().iter().zip(mean).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

/// Weights of a task vector by tensor, from the merged values.
fn weights<'a>(merged: &'a Tensors, base: &'a Tensors, tuned: &'a Tensors) -> impl Fn(&str) -> f64 + 'a {
    |name| {
        let (m, b, t) = (merged[name].values()[0], base[name].values()[0], tuned[name].values()[0]);
        (m - b) / (t - b)
    }
}

#[test]
fn layers_of_multi_token_prediction_do_not_stretch_a_gradient_and_are_numbered_on() {
    let context = Context::new();
    let layer = |n: usize, rest: &str| format!("model.layers.{n}.{rest}");
    let named: Vec<(String, Vec<usize>)> = (0..5)
        .map(|n| (layer(n, "mlp.up_proj.weight"), vec![4, 4]))
        .chain([(layer(4, "eh_proj.weight"), vec![4, 8]), (layer(4, "embed_tokens.weight"), vec![9, 4])])
        .collect();
    let names: Vec<(&str, &[usize])> = named.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let (base, tuned) = (tensors(1, &names), tensors(2, &names));
    let config_text = r#"{"architectures": ["D"], "num_hidden_layers": 4, "num_nextn_predict_layers": 1}"#;
    write(&context, "base", &base, config_text);
    write(&context, "tuned", &tuned, config_text);
    let text = recipe("task_arithmetic", Some("base"), &[("tuned", "weight: [0, 1]")], "");
    let (merged, stderr) = merge(&context, "out", &text);
    assert!(!stderr.contains("config.json says"), "{stderr}");
    let weight = weights(&merged, &base, &tuned);
    for n in 0..4 {
        let expected = n as f64 / 3.0;
        assert!((weight(&layer(n, "mlp.up_proj.weight")) - expected).abs() < 1e-5, "layer {n}");
    }
    assert!((weight(&layer(4, "eh_proj.weight")) - 1.0).abs() < 1e-5);
    // A model cut to two layers keeps them behind its last one.
    let slices = "merge_method: passthrough\nslices:\n- sources: [{model: tuned, layer_range: [0, 2]}]\n";
    let (cut, _) = merge(&context, "cut", slices);
    let names: Vec<&str> = cut.keys().map(String::as_str).collect();
    let expected = ["0.mlp.up_proj", "1.mlp.up_proj", "2.eh_proj", "2.embed_tokens", "2.mlp.up_proj"];
    assert_eq!(names, expected.map(|name| format!("model.layers.{name}.weight")));
    assert_eq!(cut[&layer(2, "mlp.up_proj.weight")], tuned[&layer(4, "mlp.up_proj.weight")]);
    assert_eq!(config(&context.path("cut"))["num_hidden_layers"], 2);
}

#[test]
fn the_stacks_of_an_encoder_decoder_follow_their_own_layers_and_config_keys() {
    let context = Context::new();
    let block = |stack: &str, n: usize| format!("{stack}.block.{n}.layer.0.SelfAttention.q.weight");
    let named: Vec<String> = (0..4).map(|n| block("encoder", n)).chain((0..3).map(|n| block("decoder", n))).collect();
    let mut names: Vec<(&str, &[usize])> = named.iter().map(|name| (name.as_str(), &[4, 4][..])).collect();
    names.extend([("shared.weight", &[9, 4][..]), ("decoder.final_layer_norm.weight", &[4][..])]);
    let (base, tuned) = (tensors(1, &names), tensors(2, &names));
    let t5 = |keys: &str| format!(r#"{{"architectures": ["T5"], "is_encoder_decoder": true, "num_layers": 4{keys}}}"#);
    write(&context, "base", &base, &t5(r#", "num_decoder_layers": 3"#));
    write(&context, "tuned", &tuned, &t5(r#", "num_decoder_layers": 3"#));
    let text = recipe("task_arithmetic", Some("base"), &[("tuned", "weight: [0, 1]")], "");
    let (merged, stderr) = merge(&context, "out", &text);
    assert!(!stderr.contains("config.json says"), "{stderr}");
    let weight = weights(&merged, &base, &tuned);
    for (stack, layers) in [("encoder", 4), ("decoder", 3)] {
        for n in 0..layers {
            let expected = n as f64 / f64::from(layers as u8 - 1);
            assert!((weight(&block(stack, n)) - expected).abs() < 1e-5, "{stack} {n}");
        }
    }
    // Slices cut the decoder, its key and nothing else; a key that is missing is written.
    write(&context, "unnamed", &tuned, &t5(""));
    let bart = r#"{"architectures": ["B"], "is_encoder_decoder": true, "encoder_layers": 4, "decoder_layers": 3, "num_hidden_layers": 4}"#;
    write(&context, "bart", &tuned, bart);
    for (model, key, encoder) in [
        ("tuned", "num_decoder_layers", "num_layers"),
        ("unnamed", "num_decoder_layers", "num_layers"),
        ("bart", "decoder_layers", "encoder_layers"),
    ] {
        let slices =
            format!("merge_method: passthrough\nslices:\n- sources: [{{model: {model}, layer_range: [0, 2]}}]\n");
        let (cut, stderr) = merge(&context, "cut", &slices);
        assert!(stderr.contains("the encoder keeps its 4 layers"), "{stderr}");
        assert!(cut.contains_key(&block("encoder", 3)) && !cut.contains_key(&block("decoder", 2)));
        let config = config(&context.path("cut"));
        assert_eq!((config[key].as_u64(), config[encoder].as_u64()), (Some(2), Some(4)), "{model}: {config}");
    }
}
