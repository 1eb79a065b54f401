//! Files made to crash, hang or fill a reader: each ends in an error that names the file.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::context::{Context, Run, fixture};

/// A copy of the tiny model for evaluations.
fn model(context: &Context) -> PathBuf {
    let copy = context.path("model");
    std::fs::create_dir_all(&copy).unwrap();
    for (name, bytes) in crate::context::files(&fixture("eval/model")) {
        std::fs::write(copy.join(name), bytes).unwrap();
    }
    copy
}

fn eval_arguments(model: &Path, task: &str) -> Vec<String> {
    let data = fixture("tasks/prompts/data").display().to_string();
    let model = model.display().to_string();
    ["eval", &model, "--tasks", task, "--data", &data, "--no-cache", "--limit", "2", "-q"].map(str::to_owned).to_vec()
}

fn plain_task() -> String {
    fixture("tasks/prompts/plain.yaml").display().to_string()
}

/// Runs with a time limit, so that a hang is a failure and not the end of all tests.
fn finished(context: &Context, arguments: &[String], seconds: u64) -> Run {
    let mut child = context.command().args(arguments).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{arguments:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    output(child)
}

fn output(child: Child) -> Run {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn chat_templates_that_loop_grow_or_nest_are_errors_naming_file_and_line() {
    let context = Context::new();
    let model = model(&context);
    let mut arguments = eval_arguments(&model, &plain_task());
    arguments.push("--apply-chat-template".to_owned());
    for (template, line) in [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".to_owned(), Some(1)),
        ("\n{{ [1]|batch(1000000000, 0)|list|length }}".to_owned(), Some(2)),
        ("\n{{ 'a\\nb'|indent(4000000000) }}".to_owned(), Some(2)),
        ("\n{{ '%1000000000d'|format(3) }}".to_owned(), Some(2)),
        ("\n\n{% set ns=namespace() %}{% set ns.a=ns %}{{ ns }}".to_owned(), Some(3)),
        ("{% set ns=namespace() %}{% set ns.a=ns %}{{ ns|tojson }}".to_owned(), Some(1)),
        (format!("\n{{{{ 1{} }}}}", "+1".repeat(8000)), Some(2)),
        (format!("\n{{{{ {}1 }}}}", "not ".repeat(6000)), Some(2)),
        (format!("{{{{ 1{} }}}}", "|string".repeat(10_000)), Some(1)),
        // The engine itself recurses here: no line is known, but the file is.
        ("{% set ns=namespace() %}{% set ns.a=ns %}{{ ns ~ '' }}".to_owned(), None),
        ("{% set a=namespace() %}{% set a.x=a %}{% set b=namespace() %}{% set b.x=b %}{{ a == b }}".to_owned(), None),
        ("{% set ns=namespace(t='x') %}{% for i in range(90) %}{% set ns.t=ns.t~ns.t %}{% endfor %}".to_owned(), None),
        ("{% set ns=namespace(t=1) %}{% for i in range(99999) %}{% set ns.t=[ns.t] %}{% endfor %}".to_owned(), None),
    ] {
        std::fs::write(model.join("chat_template.jinja"), &template).unwrap();
        let run = finished(&context, &arguments, 100);
        let what = format!("{template:.100}: {run:?}");
        assert_eq!(run.code, Some(1), "{what}");
        assert!(run.stderr.starts_with("error: the chat template "), "{what}");
        assert!(run.stderr.contains("chat_template.jinja"), "{what}");
        assert!(line.is_none_or(|line| run.stderr.contains(&format!("line {line}"))), "{what}");
    }
}

#[test]
fn templates_of_tasks_that_loop_or_nest_are_errors_naming_the_task() {
    let context = Context::new();
    let base = fixture("tasks/prompts/_base.yaml").display().to_string();
    for template in [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
        format!("{{{{ 1{} }}}}", "+1".repeat(8000)),
        "{% set ns=namespace() %}{% set ns.a=ns %}{{ ns }}".to_owned(),
        "{% set ns=namespace() %}{% set ns.a=ns %}{{ ns ~ '' }}".to_owned(),
    ] {
        let text = serde_json::Value::from(template.as_str());
        let task = context.write("t.yaml", &format!("task: looping\ninclude: {base}\ndoc_to_text: {text}\n"));
        let run = finished(&context, &eval_arguments(&fixture("eval/model"), &task.display().to_string()), 100);
        let what = format!("{template:.100}: {run:?}");
        assert!(matches!(run.code, Some(1 | 2)), "{what}");
        assert!(run.stderr.contains("looping") || run.stderr.contains("t.yaml"), "{what}");
    }
}

#[test]
fn damaged_tokenizers_are_errors_not_panics() {
    let context = Context::new();
    let model = model(&context);
    let path = model.join("tokenizer.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let changed = |change: fn(&mut serde_json::Value)| {
        let mut json = json.clone();
        change(&mut json);
        json.to_string().into_bytes()
    };
    let decoder = text.find("\"decoder\"").unwrap();
    let mut control = text.clone().into_bytes();
    control[decoder + 14] = 1;
    let mut binary = text.clone().into_bytes();
    binary[decoder + 14] = 0xaf;
    for (place, bytes) in [
        changed(|json| drop(json["post_processor"]["special_tokens"].as_object_mut().unwrap().remove("<s>"))),
        changed(|json| json["post_processor"]["single"][0]["SpecialToken"]["id"] = "x".into()),
        changed(|json| json["model"]["continuing_subword_prefix"] = "NaN".into()),
        text.as_bytes()[..decoder + 30].to_vec(),
        control,
        binary,
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&path, bytes).unwrap();
        let run = finished(&context, &eval_arguments(&model, &plain_task()), 60);
        assert_eq!(run.code, Some(1), "{place}: {run:?}");
        assert!(!run.stderr.contains("panicked"), "{place}: {run:?}");
        assert!(run.stderr.contains("model"), "{place}: {run:?}");
    }
}

#[test]
fn fifos_are_refused_where_files_are_expected() {
    let context = Context::new();
    let model = model(&context);
    let fifo = |path: &Path| {
        let _ = std::fs::remove_file(path);
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path.display().to_string()
    };
    let text = |path: &Path| path.display().to_string();
    let (out, named) = (text(&context.path("out")), |name: &str| fifo(&context.path(name)));
    let llama = text(&fixture("models/llama"));
    for arguments in [
        vec!["merge".to_owned(), named("a.yml"), out.clone()],
        vec!["plan".to_owned(), named("b.yml")],
        vec!["train".to_owned(), named("c.yml"), "--out".to_owned(), out.clone()],
        vec!["run".to_owned(), named("d.yml"), "--out".to_owned(), out.clone()],
        vec!["convert".to_owned(), named("e.gguf"), out.clone()],
        vec!["tasks".to_owned(), named("f.yaml")],
        vec!["gate".to_owned(), "--config".to_owned(), named("g.yml"), "x".to_owned(), "y".to_owned()],
        vec!["compare".to_owned(), named("results_h.json"), named("results_i.json")],
        eval_arguments(&model, &named("j.yaml")),
    ] {
        let run = finished(&context, &arguments, 30);
        assert!(matches!(run.code, Some(1 | 2)), "{arguments:?}: {run:?}");
        assert!(run.stderr.starts_with("error: "), "{arguments:?}: {run:?}");
    }
    // Files of a model, an adapter and a lock.
    for name in ["config.json", "tokenizer_config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"] {
        let saved = std::fs::read(model.join(name)).unwrap();
        fifo(&model.join(name));
        let mut arguments = eval_arguments(&model, &plain_task());
        arguments.push("--apply-chat-template".to_owned());
        let run = finished(&context, &arguments, 30);
        assert_eq!(run.code, Some(1), "{name}: {run:?}");
        std::fs::remove_file(model.join(name)).unwrap();
        std::fs::write(model.join(name), saved).unwrap();
    }
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let adapter = context.path(&format!("adapter-{name}"));
        std::fs::create_dir(&adapter).unwrap();
        for (file, bytes) in crate::context::files(&fixture("models/adapters/llama-plain")) {
            std::fs::write(adapter.join(file), bytes).unwrap();
        }
        fifo(&adapter.join(name));
        let arguments = ["adapter", "bake", &llama, &text(&adapter), &out].map(str::to_owned);
        let run = finished(&context, &arguments, 30);
        assert!(matches!(run.code, Some(1 | 2)), "{name}: {run:?}");
    }
    std::fs::create_dir(context.path("merged")).unwrap();
    fifo(&context.path("merged/billon.lock.json"));
    let run = finished(&context, &["verify".to_owned(), text(&context.path("merged"))], 30);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("FIFO"), "{run:?}");
}

#[test]
fn settings_of_absurd_size_or_nesting_are_errors() {
    let context = Context::new();
    let model = model(&context);
    for name in ["config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.json"] {
        let path = model.join(name);
        let saved = std::fs::read(&path).ok();
        for content in ["[".repeat(300_000), format!("{{\"a\":{}", "{\"a\":".repeat(300_000))] {
            std::fs::write(&path, content).unwrap();
            let run = finished(&context, &eval_arguments(&model, &plain_task()), 60);
            assert_eq!(run.code, Some(1), "{name}: {run:?}");
            assert!(run.stderr.contains(name), "{name}: {run:?}");
        }
        // A file of a terabyte that takes no room on the disk.
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let run = finished(&context, &eval_arguments(&model, &plain_task()), 60);
        assert_eq!(run.code, Some(1), "{name}: {run:?}");
        assert!(run.stderr.contains("more than the"), "{name}: {run:?}");
        std::fs::remove_file(&path).unwrap();
        if let Some(saved) = saved {
            std::fs::write(&path, saved).unwrap();
        }
    }
    let huge = context.path("huge.yml");
    std::fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let run = finished(&context, &["plan".to_owned(), huge.display().to_string()], 60);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("huge.yml") && run.stderr.contains("more than the"), "{run:?}");
}
