//! What stands in files never acts on the terminal: names and values are printed escaped, JSON stays JSON.

use safetensors::Dtype;
use serde_json::Value;

use crate::checkpoint::{self, Stored, Tensors};
use crate::context::{Context, Run, fixture};

/// ESC, BEL, CR, line break, C1 control, direction override, space of no width.
const NASTY: &str = "\u{1b}[31mRED\u{1b}]0;x\u{7}\r\nforged \u{9b}2J\u{202e}txt\u{200b}";

/// Neither stream holds a character that acts, nor a line that a value began.
fn harmless(run: &Run) {
    for stream in [&run.stdout, &run.stderr] {
        let acts = |c: char| {
            (c.is_control() && c != '\n' && c != '\t')
                || matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!stream.contains(acts), "{stream:?}");
        assert!(!stream.lines().any(|line| line.trim_start().starts_with("forged")), "{stream}");
    }
}

fn nasty_model(context: &Context, name: &str) -> std::path::PathBuf {
    let mut tensors = Tensors::new();
    tensors.insert(format!("{NASTY}.weight"), Stored::new(Dtype::F32, &[1], &[1.0]));
    let config = serde_json::json!({"architectures": [NASTY], "model_type": NASTY, "torch_dtype": NASTY});
    let directory = context.path(name);
    checkpoint::write(&directory, &tensors, Some(&config.to_string()));
    directory
}

#[test]
fn control_characters_of_models_are_escaped_in_tables() {
    let context = Context::new();
    let model = nasty_model(&context, "model");
    let other = nasty_model(&context, "other");
    let text = |path: &std::path::Path| path.display().to_string();
    let run = context.run(["inspect", &text(&model), "--tensors"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    harmless(&run);
    assert!(
        run.stdout.contains(r"\x1b[31mRED\x1b]0;x\x07\r\nforged \u{9b}2J\u{202e}txt\u{200b}.weight"),
        "{}",
        run.stdout
    );
    let run = context.run(["diff", &text(&model), &text(&other), "--by", "tensor"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    harmless(&run);
    let recipe =
        context.write("r.yml", &format!("merge_method: passthrough\nmodels: [{{model: {:?}}}]\n", text(&model)));
    let run = context.run(["plan", &text(&recipe)]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    harmless(&run);
    assert!(run.stdout.contains(r"\x1b[31mRED"), "{}", run.stdout);
}

#[test]
fn json_output_stays_json_and_does_not_act_either() {
    let context = Context::new();
    let model = nasty_model(&context, "model");
    let run = context.run(["inspect", &model.display().to_string(), "--tensors", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    harmless(&run);
    let value: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(value["tensors"][0]["name"], format!("{NASTY}.weight"));
    // An error's message, too.
    let recipe = context.write("r.yml", "merge_method: \"\\e[31m\\u202eRED\"\nmodels: [{model: x}]\n");
    let run = context.run(["merge", &recipe.display().to_string(), "out", "--json"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    harmless(&run);
    for line in run.stderr.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[test]
fn control_characters_of_recipes_are_escaped_in_messages() {
    let context = Context::new();
    for recipe in [
        "merge_method: \"\\e[31mRED\\e]0;pwned\\a\"\nmodels: [{model: \"\\e[2J\"}]\n",
        "merge_method: linear\n\"a\\nforged: \\u202e\": 1\nmodels: [{model: x}]\n",
        "merge_method: linear\nmodels: [{model: \"\\e[2J\\nforged\", parameters: {weight: \"\\e\\nforged\"}}]\n",
        "merge_method: linear # \u{1b}[31m\nmodels: 1\n",
    ] {
        let recipe = context.write("r.yml", recipe);
        for command in ["plan", "train", "run"] {
            let mut arguments = vec![command.to_owned(), recipe.display().to_string()];
            if command != "plan" {
                arguments.extend(["--out".to_owned(), context.path("out").display().to_string()]);
            }
            let run = context.run(arguments);
            assert!(matches!(run.code, Some(1 | 2)), "{run:?}");
            harmless(&run);
        }
    }
}

#[test]
fn control_characters_of_tasks_and_results_are_escaped() {
    let context = Context::new();
    let name = serde_json::Value::from(NASTY).to_string();
    context.write("d.jsonl", &format!("{{\"q\": {name}, \"a\": 0}}\n"));
    // YAML has no C1 controls but as escapes.
    let name = name.replace('\u{9b}', "\\x9b");
    let data = context.path("").display().to_string();
    let task = context.write(
        "t.yaml",
        &format!(
            "task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: d.jsonl}}}}\ntest_split: test\n\
             output_type: multiple_choice\ndoc_to_text: \"{{{{q}}}}\"\ndoc_to_choice: [{name}, b]\ndoc_to_target: a\n"
        ),
    );
    let task = task.display().to_string();
    harmless(&context.run(["tasks", &task, "--data", &data]));
    let plain = std::fs::read_to_string(&task).unwrap().replacen(&name, "t", 1);
    let task = context.write("t.yaml", &plain).display().to_string();
    let run = context.run(["tasks", "show", &task, "--data", &data]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // The prompt is shown as it is asked, line ends and all, but does not act.
    assert!(run.stdout.contains("\\x1b[31mRED\\x1b]0;x\\x07\\r\nforged"), "{}", run.stdout);
    assert!(!run.stdout.contains(['\u{1b}', '\u{7}', '\r', '\u{9b}', '\u{202e}']), "{:?}", run.stdout);
    let (model, out) = (fixture("eval/model").display().to_string(), context.path("out").display().to_string());
    let run = context.run(["eval", &model, "--tasks", &task, "--data", &data, "--out", &out, "--no-cache"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    harmless(&run);
    let run = context.run(["compare", &out, &out]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    harmless(&run);
}
