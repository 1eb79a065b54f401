//! Exit code, stdout and stderr of every command, held by files in `tests/it/snapshots`.
//!
//! `BILLON_SNAPSHOTS=write cargo test --test it snapshots` writes them anew; read the difference before committing it.

use std::path::Path;

use crate::context::{Context, Run};

const COMMANDS: [&str; 15] = [
    "merge", "plan", "verify", "demo", "train", "eval", "inspect", "diff", "adapter", "convert", "tasks", "compare",
    "gate", "run", "methods",
];

/// A run as its file says it, without paths of the test, times and rates.
fn text(context: &Context, run: &Run) -> String {
    let (folder, root) = (context.path(""), env!("CARGO_MANIFEST_DIR"));
    let folder = folder.display().to_string();
    let clean = |text: &str| {
        let text = text.replace(folder.trim_end_matches('/'), "[folder]").replace(root, "[root]");
        let times = regex::Regex::new(
            r"(?x) \d+(\.\d+)?\ (s|ms|min)\b (\ \([^)]*GB/s[^)]*\))? | \d{4}-\d\d-\d\dT[\d:.-]+ | ~[\d.]+\ \w+",
        );
        let text = times.unwrap().replace_all(&text, "[time]").into_owned();
        let lines = text.lines().map(|line| format!("{}\n", line.trim_end()));
        lines.collect::<String>().replace(env!("CARGO_PKG_VERSION"), "[version]")
    };
    format!("exit code {:?}\n--- stdout\n{}--- stderr\n{}", run.code, clean(&run.stdout), clean(&run.stderr))
}

/// Compares a run with its file, or writes the file.
fn hold(context: &Context, name: &str, arguments: &[&str], faults: &mut Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/snapshots/{name}.txt"));
    let found = text(context, &context.run(arguments));
    if std::env::var_os("BILLON_SNAPSHOTS").is_some_and(|mode| mode == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|_| "no such file".to_owned());
    if found != expected {
        faults.push(format!("{name}: `billon {}` gives\n{found}\ninstead of\n{expected}", arguments.join(" ")));
    }
}

#[test]
fn help_of_every_command() {
    let (context, mut faults) = (Context::new(), Vec::new());
    hold(&context, "help", &["-h"], &mut faults);
    for command in COMMANDS {
        hold(&context, &format!("help-{command}"), &[command, "-h"], &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn good_runs_and_documented_failures() {
    let (context, mut faults) = (Context::new(), Vec::new());
    let recipe = std::fs::read_to_string(crate::context::fixture("../recipes/fixtures-ties.yml")).unwrap();
    let misspelt = context.write("misspelt.yml", &recipe.replacen("density: [", "densty: [", 1));
    let missing = context
        .write("missing.yml", "merge_method: linear\nmodels:\n  - model: nowhere/model\n    parameters: {weight: 1}\n");
    let [out, converted, baked, results, trained] =
        ["out", "converted", "baked", "results", "trained"].map(|name| context.path(name).to_str().unwrap().to_owned());
    let [out, converted, baked, results, trained] = [&out, &converted, &baked, &results, &trained].map(String::as_str);
    let [misspelt, missing] = [&misspelt, &missing].map(|path| path.to_str().unwrap());
    for (name, arguments) in [
        ("methods", &["methods"][..]),
        ("plan", &["plan", "recipes/fixtures-ties.yml"]),
        ("merge", &["merge", "recipes/slerp.yml", out, "-j", "2"]),
        ("merge-again", &["merge", "recipes/slerp.yml", out, "-j", "2"]),
        ("verify", &["verify", out, "-j", "2"]),
        ("inspect", &["inspect", out]),
        ("inspect-tensors", &["inspect", "fixtures/eval/model", "--tensors"]),
        (
            "diff",
            &["diff", "fixtures/checkpoints/f32/base", "fixtures/checkpoints/f32/ft1", "fixtures/checkpoints/f32/ft2"],
        ),
        ("convert", &["convert", "fixtures/gguf/llama3.gguf", converted]),
        ("bake", &["adapter", "bake", "fixtures/models/llama", "fixtures/models/adapters/llama-plain", baked]),
        ("tasks", &["tasks"]),
        (
            "tasks-show",
            &["tasks", "show", "fixtures/tasks/prompts/plain.yaml", "--data", "fixtures/tasks/prompts/data"],
        ),
        (
            "eval",
            &[
                "eval",
                "fixtures/eval/model",
                "--tasks",
                "fixtures/tasks/prompts/plain.yaml",
                "--data",
                "fixtures/tasks/prompts/data",
                "--out",
                results,
                "--no-cache",
                "-j",
                "2",
            ],
        ),
        ("compare", &["compare", results, results]),
        ("gate", &["gate", results, results]),
        ("gate-inconclusive", &["gate", results, results, "--max-drop", "0.001", "--fail-on-inconclusive"]),
        ("gate-fails", &["gate", results, results, "--min", "0.9999"]),
        ("gate-percent", &["gate", results, results, "--max-drop", "5"]),
        ("train-no-model", &["train", "recipes/train/lora-single-task.yml", "--out", trained]),
        ("run-plan", &["run", "recipes/experiments/paper-2411.02476.yml", "--out", trained, "--plan"]),
        ("unknown-key", &["plan", misspelt]),
        ("unknown-key-json", &["plan", misspelt, "--json"]),
        ("missing-model", &["plan", missing]),
        ("invalid-flag", &["merge", "--no-such-flag"]),
        ("unknown-task", &["tasks", "show", "no-such-task"]),
    ] {
        hold(&context, name, arguments, &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}
