//! Training runs as users see them: resumed after a kill, on any number of threads, in every family.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::context::{Context, fixture};

/// Pre-tokenised rows of the fixtures' vocabulary, of several lengths; answers only in every second one.
fn rows(count: usize) -> String {
    let mut text = String::new();
    for row in 0..count {
        let ids: Vec<usize> = (0..5 + row * 7 % 23).map(|i| 3 + (i * 11 + row * 17) % 60).collect();
        let label = |(i, id): (usize, &usize)| if row % 2 == 0 || i + 3 > ids.len() { *id as i64 } else { -100 };
        let labels: Vec<i64> = ids.iter().enumerate().map(label).collect();
        text.push_str(&json!({"input_ids": ids, "labels": labels}).to_string());
        text.push('\n');
    }
    text
}

fn recipe(context: &Context, name: &str, settings: Value) -> PathBuf {
    let data = context.write("rows.jsonl", &rows(24));
    let mut recipe = json!({
        "base_model": context.model_with_tokenizer(&fixture("models/llama")),
        "datasets": [{"path": data, "format": "tokenised"}],
        "lora_r": 4, "micro_batch_size": 3, "num_epochs": 2, "learning_rate": 1e-3, "logging_steps": 1,
        "sequence_len": 64, "warmup_steps": 2, "seed": 5,
    });
    recipe.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    context.write(&format!("{name}.yml"), &recipe.to_string())
}

fn train(context: &Context, recipe: &Path, out: &str, options: &[&str]) -> PathBuf {
    let out = context.path(out);
    let mut arguments = vec!["train".as_ref(), recipe.as_os_str(), "--out".as_ref(), out.as_os_str()];
    arguments.extend(options.iter().map(std::ffi::OsStr::new));
    let run = context.run(arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    out
}

fn adapter(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("adapter_model.safetensors")).unwrap()
}

/// The numbers of a log that do not depend on the clock.
fn log(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("trainer_log.jsonl")).unwrap();
    let timeless = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("tokens_per_second");
        line
    };
    text.lines().map(timeless).collect()
}

#[test]
fn threads_packing_memory_and_recomputation_do_not_change_a_bit() {
    let context = Context::new();
    let plain = recipe(&context, "plain", json!({"lora_dropout": 0.2}));
    let first = adapter(&train(&context, &plain, "one", &["--threads", "1"]));
    assert_eq!(adapter(&train(&context, &plain, "three", &["--threads", "3"])), first);
    let again = recipe(&context, "again", json!({"lora_dropout": 0.2, "gradient_checkpointing": true}));
    assert_eq!(adapter(&train(&context, &again, "again", &["--threads", "2"])), first);
    let other = recipe(&context, "other", json!({"lora_dropout": 0.2, "seed": 6}));
    assert_ne!(adapter(&train(&context, &other, "other", &[])), first, "the seed decides");
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let context = Context::new();
    let settings = json!({
        "lora_dropout": 0.1, "num_epochs": 40, "warmup_steps": 400, "save_steps": 4, "save_total_limit": 2, "val_set_size": 0.2,
        "eval_steps": 16,
    });
    let recipe = recipe(&context, "killed", settings);
    let whole = train(&context, &recipe, "whole", &[]);
    let out = context.path("killed");
    for kill in 0..3 {
        let mut command = context.command();
        command.arg("train").arg(&recipe).arg("--out").arg(&out).arg("--quiet");
        if kill > 0 {
            command.arg("--resume");
        }
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        // Killed as soon as there are checkpoints beyond the last ones, in the middle of whatever it does.
        let wanted = 4 * (4 * kill + 2);
        let (began, reached) = (Instant::now(), || {
            let steps = std::fs::read_dir(&out).into_iter().flatten().flatten();
            steps.filter_map(|e| e.file_name().to_str()?.strip_prefix("checkpoint-")?.parse::<u64>().ok()).max()
        });
        while reached().is_none_or(|step| step < wanted) && began.elapsed() < Duration::from_secs(60) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().unwrap();
        assert!(reached().is_some_and(|step| step >= wanted), "a checkpoint was there in time");
    }
    let done = train(&context, &recipe, "killed", &["--resume"]);
    assert_eq!(adapter(&done), adapter(&whole));
    assert_eq!(log(&done), log(&whole), "every step stands in the log once");
    let kept = std::fs::read_dir(&done)
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("checkpoint-"));
    assert_eq!(kept.count(), 2, "older checkpoints went");
    // Another recipe is no continuation of this run.
    let run = context.run([
        "train".as_ref(),
        recipe.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
        "--resume".as_ref(),
        "--set".as_ref(),
        "lora_dropout=0.3".as_ref(),
    ]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("began with another recipe"), "{}", run.stderr);
}

#[test]
fn every_weight_of_every_family_is_trained() {
    let context = Context::new();
    for family in
        ["gemma2", "gemma3", "llama", "llama3", "llama_linear", "mistral", "phi3", "qwen2", "qwen2_yarn", "qwen3"]
    {
        let base = context.model_with_tokenizer(&fixture("models").join(family));
        let settings =
            json!({"adapter": "full", "base_model": base, "max_steps": 1, "warmup_steps": 0, "micro_batch_size": 24});
        let recipe = recipe(&context, family, settings);
        let out = train(&context, &recipe, family, &[]);
        let read = |folder: &Path| -> BTreeMap<String, Vec<u8>> {
            let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
        };
        let (before, after) = (read(&base), read(&out));
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{family}");
        for (name, bytes) in &before {
            assert_ne!(bytes, &after[name], "{family}: {name} has not moved");
            let (values, _) = after[name].as_chunks::<4>();
            assert!(values.iter().all(|v| f32::from_le_bytes(*v).is_finite()), "{family}: {name}");
        }
        assert!(out.join("config.json").is_file() && out.join("tokenizer.json").is_file());
    }
}

#[test]
fn runs_that_cannot_work_stop_with_a_reason() {
    let context = Context::new();
    let refused = |name: &str, settings: Value, code: i32, reason: &str| {
        let recipe = recipe(&context, name, settings);
        let out = context.path(&format!("{name}-out"));
        let run = context.run(["train".as_ref(), recipe.as_os_str(), "--out".as_ref(), out.as_os_str()]);
        assert_eq!(run.code, Some(code), "{name}: {}", run.stderr);
        assert!(run.stderr.contains(reason), "{name}: {}", run.stderr);
        assert!(!out.join("adapter_model.safetensors").exists(), "{name}");
    };
    let masked =
        context.write("masked.jsonl", &format!("{}\n", json!({"input_ids": [5, 6, 7], "labels": [-100, -100, -100]})));
    refused("masked", json!({"datasets": [{"path": masked, "format": "tokenised"}]}), 1, "masked");
    refused("learning", json!({"learning_rate": 1e30, "warmup_steps": 0}), 1, "not a number");
    // Every loss was finite, but the last update is not.
    let overflown = json!({"learning_rate": 1e300, "warmup_steps": 0, "max_steps": 1});
    refused("overflown", overflown, 1, "infinite or NaN");
    // A random model is worse than guessing, and stays so at this rate.
    let hopeless = json!({"learning_rate": 1e-9, "warmup_steps": 0, "num_epochs": 60});
    refused("hopeless", hopeless, 1, "guessing");
    refused("typo", json!({"learning_rat": 1e-3}), 2, "learning_rate");
    refused("target", json!({"lora_target_modules": ["q_prj"]}), 1, "q_proj");
    refused("metric", json!({"val_set_size": 0.3, "metric_for_best_model": "fpb/acc"}), 2, "fpb/acc");
}
