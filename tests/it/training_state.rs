//! What is trained, gone on with and trained again: the state of runs against everything that they depend on.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::context::{Context, Run, fixture};

/// Pre-tokenised rows of the fixtures' vocabulary.
fn rows(count: usize) -> String {
    let mut text = String::new();
    for row in 0..count {
        let ids: Vec<usize> = (0..5 + row * 7 % 11).map(|i| 3 + (i * 11 + row * 17) % 60).collect();
        text.push_str(&json!({"input_ids": ids, "labels": ids}).to_string());
        text.push('\n');
    }
    text
}

fn recipe(context: &Context, name: &str, settings: Value) -> PathBuf {
    let data = context.write("rows.jsonl", &rows(12));
    let mut recipe = json!({
        "base_model": context.model_with_tokenizer(&fixture("models/llama")),
        "datasets": [{"path": data, "format": "tokenised"}],
        "lora_r": 4, "micro_batch_size": 3, "num_epochs": 2, "learning_rate": 1e-3, "logging_steps": 1,
        "sequence_len": 64, "warmup_steps": 0, "seed": 5,
    });
    recipe.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    recipe.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    context.write(&format!("{name}.yml"), &recipe.to_string())
}

fn train(context: &Context, recipe: &Path, out: &str, options: &[&str]) -> Run {
    let out = context.path(out);
    let mut arguments = vec!["train".as_ref(), recipe.as_os_str(), "--out".as_ref(), out.as_os_str()];
    arguments.extend(options.iter().map(std::ffi::OsStr::new));
    context.run(arguments)
}

fn trained(context: &Context, recipe: &Path, out: &str, options: &[&str]) -> PathBuf {
    let run = train(context, recipe, out, options);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    context.path(out)
}

fn refused(context: &Context, recipe: &Path, out: &str, options: &[&str], code: i32, parts: &[&str]) {
    let run = train(context, recipe, out, options);
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    for part in parts {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

fn weights(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("adapter_model.safetensors")).unwrap()
}

/// Flips a bit of a byte so far from the end.
fn flip(path: &Path, before_end: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - before_end;
    bytes[at] ^= 4;
    std::fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for (name, bytes) in crate::context::files(from) {
        std::fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        std::fs::write(to.join(name), bytes).unwrap();
    }
}

/// A model whose tokenizer belongs to it, which tasks need.
fn asked_model(context: &Context) -> PathBuf {
    let base = context.path("base");
    copy(&fixture("eval/model"), &base);
    base
}

/// A run of eight steps that stopped after six, with checkpoints of steps 2, 4 and 6.
fn stopped(context: &Context, recipe: &Path, out: &str) -> PathBuf {
    let out = trained(context, recipe, out, &[]);
    std::fs::remove_dir_all(out.join("checkpoint-8")).unwrap();
    std::fs::remove_file(out.join("adapter_model.safetensors")).unwrap();
    out
}

/// reliability/checkpoint-bit-rot: two flipped bits of a checkpoint were resumed without a word.
#[test]
fn a_flipped_bit_of_a_checkpoint_is_reported_and_recomputed() {
    let context = Context::new();
    let recipe = recipe(&context, "r", json!({"save_steps": 2}));
    let whole = trained(&context, &recipe, "whole", &[]);
    for file in ["adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json", "billon_state.json"] {
        let name = format!("damaged-{file}");
        let out = stopped(&context, &recipe, &name);
        let path = out.join("checkpoint-6").join(file);
        flip(&path, 30);
        let run = train(&context, &recipe, &name, &["--resume"]);
        assert_eq!(run.code, Some(0), "{file}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("checkpoint-6/{file} is damaged")), "{file}: {}", run.stderr);
        assert_eq!(run.stderr.matches("is damaged").count(), 1, "said once: {}", run.stderr);
        assert_eq!(weights(&out), weights(&whole), "{file}");
    }
    // Without one before it there is nothing to go on from.
    let out = stopped(&context, &recipe, "all");
    for step in [2, 4, 6] {
        flip(&out.join(format!("checkpoint-{step}/optimizer.safetensors")), 400);
    }
    refused(&context, &recipe, "all", &["--resume"], 1, &["checkpoint-6/optimizer.safetensors is damaged", "--force"]);
    assert!(out.join("checkpoint-6").is_dir(), "nothing was removed");
    std::fs::remove_dir_all(&out).unwrap();
    assert_eq!(weights(&trained(&context, &recipe, "all", &["--force"])), weights(&whole));
}

/// A state of the layout without checksums is named, not misread.
#[test]
fn a_checkpoint_of_another_version_is_named() {
    let context = Context::new();
    let recipe = recipe(&context, "r", json!({"save_steps": 2}));
    let out = stopped(&context, &recipe, "old");
    let old = json!({"step": 6, "fingerprint": "0", "tokens": 1, "trained_tokens": 1, "recent": [], "best": null});
    std::fs::write(out.join("checkpoint-6/billon_state.json"), old.to_string()).unwrap();
    refused(&context, &recipe, "old", &["--resume"], 1, &["another version of billon (layout 1", "--force"]);
}

/// aesthetics/resume-saves-per-epoch: how often a checkpoint is written never changes the result.
#[test]
fn a_run_resumes_when_only_the_interval_of_checkpoints_changed() {
    let context = Context::new();
    let recipe = recipe(&context, "r", json!({"save_steps": 2}));
    let whole = weights(&trained(&context, &recipe, "whole", &[]));
    for (index, change) in
        ["saves_per_epoch=4", "save_steps=0.5", "save_steps=3", "save_total_limit=1", "logging_steps=5", "eval_steps=1"]
            .iter()
            .enumerate()
    {
        let name = format!("o{index}");
        stopped(&context, &recipe, &name);
        let out = trained(&context, &recipe, &name, &["--resume", "--set", change]);
        assert_eq!(weights(&out), whole, "{change}");
    }
    stopped(&context, &recipe, "other");
    for (change, part) in [
        ("learning_rate=2e-3", "`learning_rate` was 0.001 and is 0.002"),
        ("seed=6", "`seed` was 5 and is 6"),
        ("lora_alpha=4", "`lora_alpha` was 8 and is 4"),
        ("num_epochs=3", "`steps` was 8 and is 12"),
    ] {
        let parts = ["began with another recipe, model or data", part];
        refused(&context, &recipe, "other", &["--resume", "--set", change], 1, &parts);
    }
}

/// train/run-base-changed: `--resume` went on after the base model's weights had changed.
#[test]
fn resume_sees_a_changed_base_model_adapter_and_evaluation() {
    let context = Context::new();
    let base = asked_model(&context);
    let first = recipe(&context, "first", json!({"base_model": base, "max_steps": 1}));
    trained(&context, &first, "init", &[]);
    let task = "task: tiny\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: t.jsonl\ntest_split: test\n\
        output_type: multiple_choice\ndoc_to_text: \"{{text}}\"\ndoc_to_target: \"{{label}}\"\n\
        doc_to_choice: [\"a\", \"b\"]\nmetric_list:\n  - metric: acc\n";
    let task = context.write("t.yaml", task);
    context.write("t.jsonl", "{\"text\": \"x\", \"label\": 0}\n{\"text\": \"y\", \"label\": 1}\n");
    let settings = json!({
        "base_model": base, "lora_r": null, "init_from": context.path("init"), "save_steps": 2,
        "evaluation": {"tasks": [task], "eval_steps": 4},
    });
    let recipe = recipe(&context, "r", settings);
    let changes: [(&str, PathBuf, usize); 4] = [
        ("base_model/model.safetensors", base.join("model.safetensors"), 400),
        ("init_from/adapter_model.safetensors", context.path("init/adapter_model.safetensors"), 400),
        ("evaluation/tiny/t.jsonl", context.path("t.jsonl"), 16),
        ("evaluation/tiny", context.path("t.yaml"), 0),
    ];
    stopped(&context, &recipe, "o");
    for (label, path, at) in &changes {
        let before = std::fs::read(path).unwrap();
        if path.ends_with("t.yaml") {
            let text = String::from_utf8(before.clone()).unwrap().replace("\"a\"", "\"c\"");
            std::fs::write(path, text).unwrap();
        } else {
            flip(path, *at);
        }
        refused(&context, &recipe, "o", &["--resume"], 1, &["began with another", &format!("`{label}` changed")]);
        std::fs::write(path, before).unwrap();
    }
    trained(&context, &recipe, "o", &["--resume"]);
}

/// train/init-from-overrides: settings that contradict the adapter were ignored, and recorded as if they held.
#[test]
fn settings_that_contradict_the_adapter_to_start_from_are_errors() {
    let context = Context::new();
    let first =
        recipe(&context, "first", json!({"max_steps": 1, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"]}));
    trained(&context, &first, "init", &[]);
    let start = |name: &str, settings: Value| {
        let mut all = json!({"lora_r": null, "init_from": context.path("init"), "max_steps": 1});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        recipe(&context, name, all)
    };
    for (index, (settings, parts)) in [
        (json!({"lora_r": 32}), &["`lora_r` is 32, the adapter's is 4"][..]),
        (
            json!({"lora_alpha": 1, "use_rslora": true}),
            &["`lora_alpha` is 1, the adapter's is 6", "`use_rslora` is true"],
        ),
        (json!({"use_dora": true}), &["`use_dora` is true"]),
        (json!({"target_modules": ["q_proj"]}), &["`target_modules` leaves out", "v_proj"]),
        (json!({"target_modules": "all-linear"}), &["`target_modules` picks", "no factors"]),
        (json!({"rank_pattern": {"q_proj": 2}}), &["rank 2"]),
        (json!({"alpha_pattern": {"q_proj": 3}}), &["scale 0.75", "scale 1.5"]),
        (json!({"modules_to_save": ["norm"]}), &["`modules_to_save`"]),
    ]
    .iter()
    .enumerate()
    {
        let recipe = start(&format!("c{index}"), settings.clone());
        refused(&context, &recipe, &format!("o{index}"), &[], 2, &[&["contradicts the adapter"][..], *parts].concat());
        assert!(!context.path(&format!("o{index}/adapter_model.safetensors")).exists());
    }
    // What agrees is no contradiction, and dropout is a setting of the training.
    let agreed = json!({"lora_r": 4, "target_modules": ["v_proj", "q_proj"], "lora_dropout": 0.5});
    let out = trained(&context, &start("agreed", agreed), "agreed", &[]);
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let config: Value = serde_json::from_str(&read("adapter_config.json")).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"], &config["lora_dropout"]), (&json!(4), &json!(6), &json!(0.5)));
    let resolved = read("config.resolved.yaml");
    for line in ["lora_r: 4\n", "lora_alpha: 6.0\n", "lora_dropout: 0.5\n", "use_rslora: false\n", "q_proj"] {
        assert!(resolved.contains(line), "{line}: {resolved}");
    }
    // The resolved recipe trains the same.
    let again = trained(&context, &out.join("config.resolved.yaml"), "again", &[]);
    assert_eq!(weights(&again), weights(&out));
}

/// train/modules-to-save-tied: the run trained to its end and kept nothing.
#[test]
fn tied_embeddings_in_modules_to_save_are_trained_and_saved_apart_as_in_peft() {
    let context = Context::new();
    let fixture_config = std::fs::read_to_string(fixture("models/llama/config.json")).unwrap();
    assert!(fixture_config.replace(' ', "").contains("\"tie_word_embeddings\":true"), "a tied model");
    let tensors = |out: &Path| {
        let bytes = weights(out);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let owned = |(name, view): (String, safetensors::tensor::TensorView<'_>)| (name, view.data().to_vec());
        file.tensors().into_iter().map(owned).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (embedding, head) = ("base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight");
    let settings = |saved: &[&str]| json!({"target_modules": ["q_proj"], "modules_to_save": saved, "save_steps": 2});
    let both = recipe(&context, "both", settings(&["embed_tokens", "lm_head"]));
    let run = train(&context, &both, "both", &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("one matrix in the base model"), "{}", run.stderr);
    let out = context.path("both");
    let found = tensors(&out);
    assert_ne!(found[embedding], found[head], "each has its own gradient");
    for (name, saved, absent) in [("embedding", "embed_tokens", head), ("head", "lm_head", embedding)] {
        let alone = recipe(&context, name, settings(&[saved]));
        let found = tensors(&trained(&context, &alone, name, &[]));
        assert!(!found.contains_key(absent) && found.contains_key(if absent == head { embedding } else { head }));
    }
    // It is resumed, started from and evaluated.
    let before = weights(&out);
    std::fs::remove_dir_all(out.join("checkpoint-8")).unwrap();
    assert_eq!(weights(&trained(&context, &both, "both", &["--resume"])), before);
    let next = recipe(&context, "next", json!({"lora_r": null, "init_from": out, "max_steps": 1}));
    let next = tensors(&trained(&context, &next, "next", &[]));
    assert_ne!(next[head], found[head]);
    // A name that is no module is found before the first step.
    let wrong = recipe(&context, "wrong", settings(&["embed_token"]));
    let run = train(&context, &wrong, "wrong", &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("did you mean `embed_tokens`?"), "{}", run.stderr);
    assert!(!context.path("wrong/trainer_log.jsonl").exists(), "before the first step");
}

/// train/resume-best-ulp: a float that came back a unit in the last place lower made an equal evaluation a better one.
#[test]
fn a_resumed_run_with_tied_evaluations_stops_where_the_whole_one_does() {
    let context = Context::new();
    let task = "task: tiny\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: t.jsonl\ntest_split: test\n\
        output_type: multiple_choice\ndoc_to_text: \"{{text}}\"\ndoc_to_target: \"{{label}}\"\n\
        doc_to_choice: [\" a\", \" b\"]\nmetric_list:\n  - metric: acc\n";
    let task = context.write("t.yaml", task);
    let state = |out: &Path| -> Value {
        serde_json::from_str(&std::fs::read_to_string(out.join("trainer_state.json")).unwrap()).unwrap()
    };
    // One question, so one answer: the accuracy is 17/150 where the model never gives the label of the others.
    let base = asked_model(&context);
    let mut seen = Vec::new();
    for rare in [0, 1] {
        let label = |i: usize| if i < 17 { rare } else { 1 - rare };
        let documents: String = (0..150).map(|i| format!("{}\n", json!({"text": "t", "label": label(i)}))).collect();
        context.write("t.jsonl", &documents);
        let settings = json!({
            "base_model": base, "learning_rate": 1e-7, "max_steps": 12, "num_epochs": null, "save_steps": 1,
            "evaluation": {
                "tasks": [task], "eval_steps": 2, "metric_for_best_model": "tiny/acc", "early_stopping_patience": 3,
            },
        });
        let recipe = recipe(&context, "r", settings);
        let (whole, cut) = (format!("whole{rare}"), format!("cut{rare}"));
        let whole_out = trained(&context, &recipe, &whole, &[]);
        let after = state(&whole_out);
        assert_eq!((&after["global_step"], &after["best_global_step"]), (&json!(8), &json!(2)));
        seen.push(after["best_metric"].as_f64().unwrap());
        copy(&whole_out, &context.path(&cut));
        for step in 3..=8 {
            std::fs::remove_dir_all(context.path(&cut).join(format!("checkpoint-{step}"))).unwrap();
        }
        let cut = trained(&context, &recipe, &cut, &["--resume"]);
        assert_eq!(weights(&cut), weights(&whole_out));
        assert_eq!((&state(&cut)["global_step"], &state(&cut)["best_global_step"]), (&json!(8), &json!(2)));
        // A run that had stopped early does not go on when it is resumed.
        let again = trained(&context, &recipe, &whole, &["--resume"]);
        assert_eq!(state(&again)["global_step"], json!(8));
    }
    assert!(seen.contains(&(17.0 / 150.0)), "{seen:?}");
}

/// A metric that no evaluation gives ended a run at its first evaluation.
#[test]
fn a_metric_that_nothing_gives_is_found_before_the_first_step() {
    let context = Context::new();
    let task = "task: tiny\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: t.jsonl\ntest_split: test\n\
        output_type: multiple_choice\ndoc_to_text: \"{{text}}\"\ndoc_to_target: \"{{label}}\"\n\
        doc_to_choice: [\" a\", \" b\"]\nmetric_list:\n  - metric: acc\n";
    let task = context.write("t.yaml", task);
    context.write("t.jsonl", "{\"text\": \"x\", \"label\": 0}\n");
    let base = asked_model(&context);
    for metric in ["tiny/f1", "tinny/acc"] {
        let evaluation = json!({"tasks": [task], "metric_for_best_model": metric});
        let recipe = recipe(&context, "r", json!({"base_model": base, "evaluation": evaluation}));
        refused(&context, &recipe, "o", &[], 2, &[metric, "known: tiny/acc"]);
        assert!(!context.path("o/trainer_log.jsonl").exists());
    }
}
