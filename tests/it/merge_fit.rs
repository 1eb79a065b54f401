//! Models whose configs or tokenizers disagree are refused, or told with both values.

use std::path::Path;

use serde_json::{Value, json};

use crate::checkpoint;
use crate::context::{Context, Run, files, fixture};

/// A copy of a fixture with some files changed.
fn copied(context: &Context, name: &str) -> std::path::PathBuf {
    let copy = context.path(name);
    std::fs::create_dir(&copy).unwrap();
    for (file, bytes) in files(&fixture("checkpoints/f32/ft2")) {
        std::fs::write(copy.join(file), bytes).unwrap();
    }
    copy
}

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(file, value.to_string()).unwrap();
}

fn merged(context: &Context, other: &Path, options: &[&str]) -> Run {
    let recipe = format!(
        "merge_method: linear\nparameters: {{weight: 0.5}}\nmodels:\n\
         - model: fixtures/checkpoints/f32/ft1\n- model: {:?}\n",
        other.display().to_string()
    );
    let recipe = context.write("r.yml", &recipe);
    context.merge_run(&recipe, &context.path("out"), options)
}

fn has(run: &Run, code: i32, parts: &[&str]) {
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    for part in parts {
        assert!(run.stderr.contains(part), "{part:?} is not in:\n{}", run.stderr);
    }
}

#[test]
fn configs_that_compute_something_else_are_refused_naming_both_values() {
    let context = Context::new();
    let copy = copied(&context, "copy");
    for (number, (key, value, ours)) in [
        ("num_attention_heads", json!(8), "4"),
        ("num_key_value_heads", json!(4), "2"),
        ("hidden_act", json!("gelu"), "\"silu\""),
    ]
    .into_iter()
    .enumerate()
    {
        let config = copy.join("config.json");
        let before = std::fs::read(&config).unwrap();
        edit(&config, |config| config[key] = value.clone());
        let told = format!("`{key}` is {ours} in `fixtures/checkpoints/f32/ft1` and {value} in");
        has(&merged(&context, &copy, &["-q"]), 1, &[&told, "--allow-mismatch"]);
        assert!(!context.path("out").exists());
        has(&merged(&context, &copy, &["-q", "--allow-mismatch", "--force"]), 0, &["warning: ", &told]);
        std::fs::remove_dir_all(context.path("out")).unwrap();
        std::fs::write(&config, before).unwrap();
        assert!(number < 3);
    }
    let of_layers = |kinds: [&str; 3]| json!(kinds.map(|kind| format!("{kind}_attention")));
    let (one, two) = (copied(&context, "one"), copied(&context, "two"));
    edit(&one.join("config.json"), |config| config["layer_types"] = of_layers(["full", "full", "sliding"]));
    edit(&two.join("config.json"), |config| config["layer_types"] = of_layers(["full", "sliding", "full"]));
    let recipe = context.write(
        "layers.yml",
        &format!("merge_method: linear\nparameters: {{weight: 0.5}}\nmodels:\n- model: {one:?}\n- model: {two:?}\n"),
    );
    let run = context.merge_run(&recipe, &context.path("out"), &[]);
    has(&run, 1, &["layer 1 of", "\"full_attention\"", "\"sliding_attention\""]);
}

#[test]
fn configs_that_are_mixed_on_purpose_are_warned_of_even_when_quiet() {
    let context = Context::new();
    let copy = copied(&context, "copy");
    edit(&copy.join("config.json"), |config| {
        config["rope_theta"] = json!(1e6);
        config["rms_norm_eps"] = json!(1e-3);
        config["max_position_embeddings"] = json!(4096);
        config["transformers_version"] = json!("9.9.9");
        config["attention_dropout"] = json!(0.1);
    });
    let run = merged(&context, &copy, &["-q"]);
    let theta = "`rope_theta` is 10000.0 in `fixtures/checkpoints/f32/ft1` and 1000000.0 in";
    has(&run, 0, &[theta, "10000.0 is written", "`rms_norm_eps`", "`max_position_embeddings`"]);
    assert_eq!(run.stderr.lines().count(), 3, "{}", run.stderr);
    let plan = context.run(["plan", context.path("r.yml").to_str().unwrap(), "--json", "-q"]);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["warnings"].as_array().unwrap().len(), 3);
    // The same in other words is nothing to tell.
    edit(&copy.join("config.json"), |config| {
        let keys = config.as_object_mut().unwrap();
        for key in ["rope_theta", "rope_scaling", "mlp_bias", "head_dim"] {
            keys.remove(key);
        }
        keys.insert("rope_parameters".to_owned(), json!({"rope_theta": 10000, "rope_type": "default"}));
        keys.insert("rms_norm_eps".to_owned(), json!(0.00001));
        keys.insert("max_position_embeddings".to_owned(), json!(128));
    });
    let run = merged(&context, &copy, &["-q", "--force"]);
    assert_eq!((run.code, &*run.stderr), (Some(0), ""));
}

#[test]
fn ids_of_other_tokens_are_refused_naming_both() {
    let context = Context::new();
    let copy = copied(&context, "copy");
    let tokenizer = copy.join("tokenizer.json");
    let mut swapped = Vec::new();
    edit(&tokenizer, |tokenizer| {
        let added: Vec<String> =
            tokenizer["added_tokens"].as_array().into_iter().flatten().map(|t| t["content"].to_string()).collect();
        let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        let plain = vocabulary.keys().filter(|token| !added.contains(&json!(token).to_string()));
        let mut tokens: Vec<String> = plain.take(2).cloned().collect();
        tokens.sort_by_key(|token| vocabulary[token].as_u64());
        let (a, b) = (vocabulary[&tokens[0]].clone(), vocabulary[&tokens[1]].clone());
        vocabulary.insert(tokens[0].clone(), b);
        vocabulary.insert(tokens[1].clone(), a);
        swapped = tokens;
    });
    let (a, b) = (format!("{:?}", swapped[0]), format!("{:?}", swapped[1]));
    has(
        &merged(&context, &copy, &["-q"]),
        1,
        &["the tokenizer files disagree", &a, &b, "so are 2 of", "--allow-mismatch"],
    );
    has(&merged(&context, &copy, &["-q", "--allow-mismatch"]), 0, &["warning: the tokenizer files disagree"]);
    let out = context.path("out/tokenizer.json");
    assert_eq!(std::fs::read(out).unwrap(), std::fs::read(fixture("checkpoints/f32/ft1/tokenizer.json")).unwrap());
    // Tokenizers of the older kinds.
    std::fs::remove_file(&tokenizer).unwrap();
    let lines = copied(&context, "lines");
    std::fs::remove_file(lines.join("tokenizer.json")).unwrap();
    std::fs::write(copy.join("vocab.txt"), "a\nb\nc\n").unwrap();
    std::fs::write(lines.join("vocab.json"), "{\"a\": 0, \"c\": 1, \"b\": 2}").unwrap();
    let recipe = context.write(
        "old.yml",
        &format!("merge_method: linear\nparameters: {{weight: 0.5}}\nmodels:\n- model: {copy:?}\n- model: {lines:?}\n"),
    );
    let run = context.merge_run(&recipe, &context.path("older"), &[]);
    has(&run, 1, &["id 1 is token \"b\"", "\"c\" in"]);
}

#[test]
fn differences_in_other_parts_of_a_tokenizer_are_reported() {
    let context = Context::new();
    let copy = copied(&context, "copy");
    edit(&copy.join("tokenizer.json"), |tokenizer| {
        tokenizer["normalizer"] = json!({"type": "Lowercase"});
        tokenizer["truncation"] = json!({"max_length": 3});
    });
    edit(&copy.join("tokenizer_config.json"), |config| {
        config["chat_template"] = json!("{{ messages }}");
        config["eos_token"] = json!("<other>");
    });
    let run = merged(&context, &copy, &["-q"]);
    has(&run, 0, &["differ in normalizer;", "`eos_token`", "chat templates"]);
    assert!(checkpoint::read(&context.path("out")).len() > 1);
}
