//! A training run's folder: nobody else's, and its result all at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::context::{Context, Run, files, fixture};

fn recipe(context: &Context, settings: Value) -> PathBuf {
    let row =
        |i: usize| json!({"input_ids": (0..12).map(|j| 3 + (i * 7 + j * 5) % 60).collect::<Vec<_>>()}).to_string();
    let data = context.write("rows.jsonl", &(0..12).map(|i| row(i) + "\n").collect::<String>());
    let mut recipe = json!({
        "base_model": context.model_with_tokenizer(&fixture("models/llama")),
        "datasets": [{"path": data, "format": "tokenised"}],
        "lora_r": 4, "lora_alpha": 8, "micro_batch_size": 3, "num_epochs": 1, "learning_rate": 1e-3,
        "sequence_len": 64, "warmup_steps": 0, "seed": 5,
    });
    recipe.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    context.write("train.yml", &recipe.to_string())
}

fn train(context: &Context, recipe: &Path, out: &Path, options: &[&str]) -> Run {
    let mut arguments = vec!["train".as_ref(), recipe.as_os_str(), "--out".as_ref(), out.as_os_str()];
    arguments.extend(options.iter().map(std::ffi::OsStr::new));
    context.run(arguments)
}

#[track_caller]
fn refused(run: &Run, code: i32, message: &str) {
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    assert!(run.stderr.contains(message), "{}", run.stderr);
}

fn alpha(out: &Path) -> Value {
    let text = std::fs::read(out.join("adapter_config.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["lora_alpha"].clone()
}

fn hidden(folder: &Path) -> Vec<PathBuf> {
    let staged = |path: &&PathBuf| path.iter().any(|step| step.to_string_lossy().contains(".billon-"));
    files(folder).keys().filter(staged).cloned().collect()
}

#[test]
fn a_base_model_and_a_foreign_adapter_are_never_overwritten() {
    let context = Context::new();
    let recipe = recipe(&context, json!({"adapter": "full", "max_steps": 1}));
    let base = context.path("llama-base");
    let before = files(&base);
    for options in [&[][..], &["--force"], &["--resume"]] {
        refused(&train(&context, &recipe, &base, options), 2, "is one of the inputs");
        refused(&train(&context, &recipe, &context.path("nope/../llama-base"), options), 2, "is one of the inputs");
    }
    context.write("foreign/adapter_model.safetensors", "someone's");
    context.write("foreign/adapter_config.json", "{}");
    refused(&train(&context, &recipe, &context.path("foreign"), &[]), 2, "is not empty");
    refused(&train(&context, &recipe, &context.path("foreign"), &["--force"]), 2, "did not write: adapter_config.json");
    assert_eq!(files(&base), before);
    assert_eq!(files(&context.path("foreign")).len(), 2, "nothing was added");
}

#[test]
fn force_starts_over_in_an_earlier_run_and_removes_no_notes() {
    let context = Context::new();
    let recipe = recipe(&context, json!({"save_steps": 2}));
    let out = context.path("out");
    assert_eq!(train(&context, &recipe, &out, &[]).code, Some(0));
    refused(&train(&context, &recipe, &out, &[]), 1, "holds a training run");
    let run = train(&context, &recipe, &out, &["--force", "--set", "lora_alpha=64"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(alpha(&out), 64);
    let before = files(&out);
    for note in ["notes.md", "checkpoint-4/notes.md"] {
        context.write(&format!("out/{note}"), "mine");
        refused(&train(&context, &recipe, &out, &["--force"]), 2, note);
        assert_eq!(files(&out).len(), before.len() + 1);
        // Going on removes nothing, so notes are no hindrance.
        let run = train(&context, &recipe, &out, &["--resume", "--set", "lora_alpha=64"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(out.join(note).exists());
        std::fs::remove_file(out.join(note)).unwrap();
    }
    assert_eq!(files(&out).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(context.leftovers(), [""; 0]);
}

#[test]
fn a_run_that_starts_over_and_fails_leaves_the_earlier_result() {
    let context = Context::new();
    let recipe = recipe(&context, json!({}));
    let out = context.path("out");
    assert_eq!(train(&context, &recipe, &out, &[]).code, Some(0));
    let before = files(&out);
    // Nor is it, or its base, replaced by what is baked of them.
    let base = context.path("llama-base");
    for target in [&base, &out] {
        let arguments = ["adapter".as_ref(), "bake".as_ref(), base.as_os_str(), out.as_os_str(), target.as_os_str()];
        refused(&context.run(arguments.into_iter().chain(["--force".as_ref()])), 2, "is one of the inputs");
    }
    let run = train(&context, &recipe, &out, &["--force", "--set", "learning_rate=1e30", "--set", "num_epochs=2"]);
    refused(&run, 1, "not a number");
    assert!(files(&out) == before, "byte for byte");
    assert_eq!(context.leftovers(), [""; 0]);
}

/// Killed anywhere, a run that replaces an adapter never leaves the config of one beside the weights of the other.
#[test]
fn old_weights_never_stand_beside_a_new_config() {
    let context = Context::new();
    let recipe = recipe(&context, json!({"save_steps": 1}));
    let out = context.path("out");
    let weights = |alpha: &str| {
        let place = context.path(&format!("whole-{alpha}"));
        let run = train(&context, &recipe, &place, &["--set", &format!("lora_alpha={alpha}")]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        std::fs::read(place.join("adapter_model.safetensors")).unwrap()
    };
    let known = [(json!(8), weights("8")), (json!(64), weights("64"))];
    assert_eq!(train(&context, &recipe, &out, &[]).code, Some(0));
    for (kill, alpha) in (0_u64..8).map(|kill| (kill, if kill % 2 == 0 { "64" } else { "8" })) {
        let mut command = context.command();
        command.arg("train").arg(&recipe).arg("--out").arg(&out).args(["--force", "-q", "--set"]);
        let mut child = command.arg(format!("lora_alpha={alpha}")).spawn().unwrap();
        let (began, wait) = (Instant::now(), Duration::from_millis(20 + kill * 37 % 400));
        while began.elapsed() < wait && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().unwrap();
        let there = ["adapter_config.json", "adapter_model.safetensors"].map(|name| out.join(name).exists());
        assert_eq!(there[0], there[1], "both or none, after {wait:?}");
        if there[0] {
            let found = std::fs::read(out.join("adapter_model.safetensors")).unwrap();
            let config = self::alpha(&out);
            assert!(known.iter().any(|(alpha, bytes)| *alpha == config && *bytes == found), "after {wait:?}");
        }
    }
    let run = train(&context, &recipe, &out, &["--force"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(hidden(&out).is_empty(), "{:?}", hidden(&out));
    assert_eq!(context.leftovers(), [""; 0]);
}

#[test]
fn leftovers_of_killed_runs_and_surplus_checkpoints_go_on_resume() {
    let context = Context::new();
    let recipe = recipe(&context, json!({"save_steps": 1}));
    let out = context.path("out");
    assert_eq!(train(&context, &recipe, &out, &[]).code, Some(0));
    context.write("out/.checkpoint-3.billon-77-0/optimizer.safetensors", "half");
    context.write("out/.config.resolved.yaml.billon-77", "half");
    context.write("out/.billon_prompts.json.billon-77-0", "half");
    context.write("out/.adapter_model.safetensors.billon-77", "half");
    context.write("out/checkpoint-99/pytorch_model.bin", "another tool's");
    context.write(".out.billon-77-0/config.resolved.yaml", "half");
    let run = train(&context, &recipe, &out, &["--resume", "--set", "save_total_limit=2"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(hidden(&out).is_empty(), "{:?}", hidden(&out));
    assert_eq!(context.leftovers(), [""; 0]);
    let checkpoints = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut checkpoints: Vec<String> = checkpoints.filter(|name| name.starts_with("checkpoint-")).collect();
    checkpoints.sort();
    assert_eq!(checkpoints, ["checkpoint-3", "checkpoint-4", "checkpoint-99"], "and nobody else's");
}
