//! `billon run` after something changed: what is trained again, and what comes out then.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::context::{Context, Run, fixture};

const TASK: &str = "task: NAME\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    train: NAME.jsonl\n    test: NAME.jsonl\n\
    training_split: train\ntest_split: test\noutput_type: multiple_choice\ndoc_to_text: \"{{text}}\"\n\
    doc_to_target: \"{{label}}\"\ndoc_to_choice: [\" a\", \" b\"]\nmetric_list:\n  - metric: acc\n";

/// An experiment with one specialist; `training` is added to its settings.
fn experiment(context: &Context, training: &str) -> PathBuf {
    let base = context.path("base");
    for (name, bytes) in crate::context::files(&fixture("eval/model")) {
        if !base.join(&name).exists() {
            std::fs::create_dir_all(&base).unwrap();
            std::fs::write(base.join(&name), bytes).unwrap();
        }
    }
    for name in ["seen", "other"] {
        context.write(&format!("{name}.yaml"), &TASK.replace("NAME", name));
        let row = |i: usize| format!("{}\n", json!({"text": format!("t{i}"), "label": i % 2}));
        context.write(&format!("{name}.jsonl"), &(0..8).map(row).collect::<String>());
    }
    let at = |name: &str| context.path(name).display().to_string();
    let text = format!(
        "base_model: {}\ntraining: {{lora_r: 2, learning_rate: 1e-3, max_steps: 2, micro_batch_size: 2, save_steps: 1{training}}}\n\
         specialists:\n  s: {{tasks: [{}]}}\nevaluation:\n  seen: [{}]\n",
        base.display(),
        at("seen.yaml"),
        at("seen.yaml"),
    );
    context.write("e.yml", &text)
}

fn run(context: &Context, experiment: &Path, out: &str, options: &[&str]) -> Run {
    let out = context.path(out);
    let mut arguments = vec!["run".as_ref(), experiment.as_os_str(), "--out".as_ref(), out.as_os_str()];
    arguments.extend(options.iter().map(std::ffi::OsStr::new));
    let run = context.run(arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run
}

fn adapter(context: &Context, out: &str) -> Vec<u8> {
    std::fs::read(context.path(out).join("specialists/s/adapter_model.safetensors")).unwrap()
}

/// Flips a bit of a byte so far from the end.
fn flip(path: &Path, before_end: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - before_end;
    bytes[at] ^= 4;
    std::fs::write(path, bytes).unwrap();
}

/// train/run-base-changed: the step ran, and published the adapter trained on the old base.
#[test]
fn a_changed_base_model_trains_the_specialist_anew() {
    let context = Context::new();
    let file = experiment(&context, "");
    run(&context, &file, "o", &[]);
    let before = adapter(&context, "o");
    flip(&context.path("base/model.safetensors"), 400);
    let plan = run(&context, &file, "o", &["--plan"]).stdout;
    assert!(plan.contains("input changed: base_model/model.safetensors"), "{plan}");
    run(&context, &file, "o", &[]);
    run(&context, &file, "fresh", &[]);
    assert_ne!(adapter(&context, "o"), before);
    assert_eq!(adapter(&context, "o"), adapter(&context, "fresh"));
    let plan = run(&context, &file, "o", &["--plan"]).stdout;
    assert!(plan.contains("nothing to do"), "{plan}");
}

/// train/run-base-changed: `--force "train X"` took the finished checkpoint for the result.
#[test]
fn a_forced_training_is_done_anew() {
    let context = Context::new();
    let file = experiment(&context, "");
    run(&context, &file, "o", &[]);
    let before = adapter(&context, "o");
    let checkpoint = context.path("o/specialists/s/checkpoint-2/billon_state.json");
    let written = || std::fs::metadata(&checkpoint).unwrap().modified().unwrap();
    let first = written();
    run(&context, &file, "o", &["--force", "train s"]);
    assert!(written() > first, "the checkpoint is a new one");
    assert_eq!(adapter(&context, "o"), before, "of the same bytes");
}

/// train/run-fingerprint-holes: both said that there was nothing to do.
#[test]
fn a_changed_start_adapter_and_changed_evaluation_data_are_seen() {
    let context = Context::new();
    let plain = experiment(&context, "");
    run(&context, &plain, "first", &[]);
    let init = context.path("first/specialists/s");
    let other = context.path("other.yaml");
    let more = format!(
        ", init_from: {}, evaluation: {{tasks: [{}], metric_for_best_model: other/acc, eval_steps: 1}}",
        init.display(),
        other.display()
    );
    let file = experiment(&context, &more);
    run(&context, &file, "o", &[]);
    assert!(run(&context, &file, "o", &["--plan"]).stdout.contains("nothing to do"));
    let data = context.path("other.jsonl");
    let text = std::fs::read_to_string(&data).unwrap();
    std::fs::write(&data, text.lines().take(4).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let plan = run(&context, &file, "o", &["--plan"]).stdout;
    assert!(plan.contains("input changed: other.jsonl"), "{plan}");
    run(&context, &file, "o", &[]);
    let before = adapter(&context, "o");
    flip(&init.join("adapter_model.safetensors"), 400);
    let plan = run(&context, &file, "o", &["--plan"]).stdout;
    assert!(plan.contains("input changed: init_from/adapter_model.safetensors"), "{plan}");
    run(&context, &file, "o", &[]);
    assert_ne!(adapter(&context, "o"), before);
    // A task file that training is evaluated on.
    context.write("other.yaml", &TASK.replace("NAME", "other").replace("\" b\"", "\" c\""));
    let plan = run(&context, &file, "o", &["--plan"]).stdout;
    assert!(plan.contains("settings changed: evaluation_task.other"), "{plan}");
}

/// A flipped bit of a finished step's checkpoint or record is computed again, and said once.
#[test]
fn damaged_state_of_an_experiment_is_computed_again() {
    let context = Context::new();
    let file = experiment(&context, "");
    run(&context, &file, "o", &[]);
    let before = adapter(&context, "o");
    flip(&context.path("o/specialists/s/checkpoint-2/optimizer.safetensors"), 400);
    std::fs::remove_file(context.path("o/specialists/s/adapter_model.safetensors")).unwrap();
    let again = run(&context, &file, "o", &[]);
    assert_eq!(again.stderr.matches("is damaged").count(), 1, "{}", again.stderr);
    assert_eq!(adapter(&context, "o"), before);
    let record = context.path("o/steps/evaluate-base.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replacen("\"score\": 0", "\"score\": 1", 1)).unwrap();
    assert_ne!(std::fs::read_to_string(&record).unwrap(), text);
    let again = run(&context, &file, "o", &[]);
    assert_eq!(again.stderr.matches("is damaged").count(), 1, "{}", again.stderr);
    assert!(run(&context, &file, "o", &["--plan"]).stdout.contains("nothing to do"));
}
