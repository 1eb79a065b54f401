//! Training and evaluation that ask differently say so.

use serde_json::{Value, json};

use crate::context::{Context, Run, fixture};

/// A task with data, and its file's place.
fn task(context: &Context) -> std::path::PathBuf {
    let rows = |texts: &[(&str, &str)]| {
        texts.iter().map(|(text, label)| format!("{}\n", json!({"text": text, "label": label}))).collect::<String>()
    };
    context.write("data/mood/train.jsonl", &rows(&[("Sales rose.", "up"), ("Sales fell.", "down")]));
    context.write("data/mood/test.jsonl", &rows(&[("They rose.", "up"), ("They fell.", "down")]));
    context.write(
        "mood.yml",
        "task: mood\noutput_type: multiple_choice\ndataset_path: json\n\
         dataset_kwargs: {data_files: {train: mood/train.jsonl, test: mood/test.jsonl}}\n\
         training_split: train\ntest_split: test\ndoc_to_text: \"{{text}}\"\ndoc_to_choice: [up, down]\n\
         doc_to_target: label\nmetric_list: [{metric: acc}]\n",
    )
}

fn train(context: &Context, out: &str, settings: Value) -> Run {
    let mut recipe = json!({"base_model": fixture("eval/model"), "datasets": [{"path": task(context), "type": "task"}],
        "lora_r": 2, "max_steps": 1});
    recipe.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let recipe = context.write("r.yml", &recipe.to_string());
    let out = context.path(out);
    let data = context.path("data");
    let run = context.run([
        "train".as_ref(),
        recipe.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
        "--data".as_ref(),
        data.as_os_str(),
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run
}

fn evaluate(context: &Context, adapter: &str, options: &[&str]) -> String {
    let paths = [fixture("eval/model"), task(context), context.path("data"), context.path(adapter)];
    let [model, task, data, adapter] = paths.map(|path| path.display().to_string());
    let mut arguments = vec!["eval", &model, "--tasks", &task, "--data", &data, "--adapter", &adapter];
    arguments.extend(options);
    let run = context.run(arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stderr
}

#[test]
fn an_adapter_evaluated_with_another_prompt_style_is_warned_of() {
    let context = Context::new();
    train(&context, "chat", json!({}));
    train(&context, "plain", json!({"apply_chat_template": false}));
    let config = |out: &str| std::fs::read_to_string(context.path(out).join("config.resolved.yaml")).unwrap();
    assert!(config("chat").contains("\napply_chat_template: true\n"), "{}", config("chat"));
    assert!(config("plain").contains("\napply_chat_template: false\n"), "{}", config("plain"));
    let record = std::fs::read_to_string(context.path("chat/billon_prompts.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!((&record["through_chat_template"], &record["plain"]), (&json!(2), &json!(0)));
    let without = "was trained through the chat template and is asked without one";
    let with = "was trained on plain prompts and is asked through a chat template";
    assert!(evaluate(&context, "chat", &[]).contains(without));
    assert!(evaluate(&context, "plain", &["--apply-chat-template"]).contains(with));
    for (adapter, options) in [("chat", &["--apply-chat-template"][..]), ("plain", &[])] {
        let told = evaluate(&context, adapter, options);
        assert!(!told.contains("was trained"), "{told}");
    }
}

/// The run's own evaluations ask tasks as chats, while its rows are plain prompts.
#[test]
fn a_run_evaluated_with_another_prompt_style_is_warned_of() {
    let context = Context::new();
    let rows = context.write("rows.jsonl", "{\"prompt\": \"Sales rose.\", \"completion\": \" up\"}\n");
    let settings = |chat: bool| json!({"datasets": [{"path": rows}], "apply_chat_template": chat, "evaluation": {"tasks": [task(&context)]}});
    let told = train(&context, "a", settings(true)).stderr;
    assert!(told.contains("in the evaluations of this run the model was trained on plain prompts"), "{told}");
    let told = train(&context, "b", settings(false)).stderr;
    assert!(!told.contains("was trained"), "{told}");
}

#[test]
fn an_experiment_that_trains_and_evaluates_differently_is_warned_of() {
    let context = Context::new();
    task(&context);
    let run = |name: &str, evaluation: &str| {
        let file = context.write(
            &format!("{name}.yml"),
            &format!(
                "base_model: {}\ndata: data\ntraining: {{max_steps: 1, lora_r: 2}}\nspecialists: {{s: {{tasks: [mood.yml]}}}}\n\
                 evaluation: {{seen: [mood.yml]{evaluation}}}\n",
                fixture("eval/model").display()
            ),
        );
        let out = context.path(name);
        let run = context.run(["run".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()]);
        assert!(matches!(run.code, Some(0 | 100 | 102)), "{:?} {}", run.code, run.stderr);
        run.stderr
    };
    let told = run("default", "");
    let expected = "specialist `s` is trained through the chat template and evaluated without one";
    assert_eq!(told.matches(expected).count(), 1, "{told}");
    assert!(!run("same", ", apply_chat_template: true").contains("is trained through"));
}
