//! Keys and files of tasks: each is honoured or refused with its place, and none is lost.

use std::path::Path;

use serde_json::Value;

use super::context::{Context, Run, fixture};

const CHOICE: &str = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: d.jsonl}}\ntest_split: test\n\
    output_type: multiple_choice\ndoc_to_text: \"{{q}}:\"\ndoc_to_target: a\ndoc_to_choice: [x, y]\n";
const WRITTEN: &str = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: d.jsonl}}\ntest_split: test\n\
    output_type: generate_until\ndoc_to_text: \"{{q}}\"\ndoc_to_target: a\n";

fn tasks(context: &Context, name: &str, text: &str) -> Run {
    context.write("d.jsonl", "{\"q\": \"1\", \"a\": \"x\"}\n{\"q\": \"2\", \"a\": \"y\"}\n");
    let file = context.write(name, text);
    context.run(["tasks", "--json", file.to_str().unwrap()])
}

fn prompt(context: &Context, file: &std::path::Path, more: &[&str]) -> Value {
    let run = context.run(["tasks", "show", file.to_str().unwrap(), "--json"].iter().chain(more));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn generation_kwargs_that_are_ignored_elsewhere_are_refused_with_their_line() {
    let context = Context::new();
    for (kwargs, expected) in [
        ("num_beams: 4", "`num_beams` is not supported with this value"),
        ("repetition_penalty: 1.3", "`repetition_penalty` is not supported"),
        ("top_p: 0.9, do_sample: true, temperature: 0.5", "`top_p` is not supported"),
        ("min_new_tokens: 6", "`min_new_tokens` is not supported"),
        ("stop: [x]", "did you mean `until`?"),
        ("max_gen_tokz: 5", "did you mean `max_gen_toks`?"),
        ("max_gen_toks: -5", "`max_gen_toks` must be a whole number from 1"),
        ("until: [5]", "`until` must be a text or a list of texts"),
        ("do_sample: true", "`do_sample: true` needs a `temperature` above 0"),
        ("temperature: .nan", "`temperature` must be a number"),
    ] {
        let run = tasks(&context, "t.yaml", &format!("{WRITTEN}generation_kwargs: {{{kwargs}}}\n"));
        assert_eq!(run.code, Some(2), "{kwargs}: {}", run.stdout);
        assert!(run.stderr.contains(expected) && run.stderr.contains("t.yaml:8:"), "{kwargs}: {}", run.stderr);
    }
    let fine = "generation_kwargs: {until: [\"\\n\"], max_gen_toks: 6, do_sample: false, top_p: 0.9, num_beams: 1}\n";
    let run = tasks(&context, "t.yaml", &format!("{WRITTEN}{fine}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

/// All three at once, each with its line.
#[test]
fn tasks_names_unknown_metrics_options_and_filters_with_their_lines() {
    let context = Context::new();
    let scoring = "filter_list:\n  - name: f\n    filter:\n      - function: regexx\n      - function: take_first\n\
        metric_list:\n  - metric: exact_matchh\n    agregation: mean\n";
    let run = tasks(&context, "t.yaml", &format!("{WRITTEN}{scoring}"));
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    for expected in [
        "3 problems",
        "unknown filter function `regexx`",
        "t.yaml:11:19",
        "did you mean `regex`?",
        "unknown metric `exact_matchh`",
        "t.yaml:14:13",
        "did you mean `exact_match`?",
        "unknown option of metric `exact_matchh` `agregation`",
        "t.yaml:15:5",
        "did you mean `aggregation`?",
    ] {
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
    for (more, expected) in [
        ("metric_list: [{metric: exact_match, ignore_cas: true}]", "did you mean `ignore_case`?"),
        ("metric_list: [{metric: exact_match, aggregation: median2}]", "aggregation `median2` does not fit"),
        ("metric_list: [{metric: exact_match, higher_is_better: maybe}]", "`higher_is_better` must be true or false"),
        ("filter_list: [{name: f, filter: [{function: regex, regex_patern: a}]}]", "did you mean `regex_pattern`?"),
        ("filter_list: [{name: f, filter: [{function: regex, regex_pattern: \"(\"}]}]", "pattern `(`"),
        ("filter_list: [{name: f, filter: [{function: custom}]}]", "`custom` is not supported"),
        ("repeats: 100000000", "`repeats` must be a whole number from 1 to 1000"),
        ("num_fewshot: 100000000", "`num_fewshot` must be a whole number from 0 to 100000"),
        ("fewshot_config: {target_delimiter: [1]}", "`target_delimiter` must be a text"),
        ("metadata: {pixiu: {exact_frist: true}}", "`pixiu` cannot have `exact_frist: true`"),
        ("metadata: {pixiu: {synonyms: {rise: yes}}}", "`pixiu` cannot have `synonyms"),
        ("metadata: {max_gen_toks: lots}", "`max_gen_toks` must be a whole number from 1"),
    ] {
        let run = tasks(&context, "t.yaml", &format!("{WRITTEN}{more}\n"));
        assert!(run.code == Some(2) && run.stderr.contains(expected), "{more}: {:?} {}", run.code, run.stderr);
    }
}

#[test]
fn a_bracket_at_the_column_of_its_key_and_a_key_twice_are_read_as_by_pyyaml() {
    let context = Context::new();
    let kwargs = "generation_kwargs:\n  until: [\n    \"\\n\"\n  ]\n  max_gen_toks: 3\n";
    let run = tasks(&context, "t.yaml", &format!("{WRITTEN}{kwargs}"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let shown = prompt(&context, &context.path("t.yaml"), &[]);
    assert_eq!(shown["generation"]["arguments"]["until"], serde_json::json!(["\n"]));
    let run =
        tasks(&context, "t.yaml", &format!("{CHOICE}num_fewshot: 1\ndescription: \"one\ntwo\"\nnum_fewshot: 0\n"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let listing: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(listing["tasks"][0]["num_fewshot"], 0);
    let warning = listing["warnings"][0].as_str().unwrap();
    assert!(warning.contains("key `num_fewshot` is given twice (first on line 9)"), "{warning}");
    assert!(warning.contains("t.yaml:12:1"), "{warning}");
    let shown = prompt(&context, &context.path("t.yaml"), &[]);
    assert_eq!(shown["context"], "one two1:");
}

#[test]
fn include_paths_are_searched_with_their_sub_folders() {
    let context = Context::new();
    context.write("lib/sub/deep/t.yaml", &CHOICE.replace("task: t\n", "task: deep_one\n"));
    context.write("lib/broken.yaml", "task: broken\nprocess_docs: !function utils.f\nx: [\n");
    context.write("lib/__pycache__/t.yaml", "task: cached\n");
    context.write("d.jsonl", "{\"q\": \"1\", \"a\": \"x\"}\n");
    let lib = context.path("lib");
    let data = context.path("");
    let run = |name: &str| {
        let arguments = ["tasks", name, "--include-path", lib.to_str().unwrap(), "--data", data.to_str().unwrap()];
        context.run(arguments)
    };
    let found = run("deep_one");
    assert!(found.code == Some(0) && found.stdout.contains("deep_one"), "{}", found.stderr);
    let unknown = run("deep_on");
    assert!(unknown.code == Some(2) && unknown.stderr.contains("did you mean `deep_one`?"), "{}", unknown.stderr);
    let nothing = run("zzzzzzzz");
    assert!(nothing.stderr.contains("deep_one") && nothing.stderr.contains("broken.yaml"), "{}", nothing.stderr);
    let two = context.write("lib/sub/second.yaml", &CHOICE.replace("task: t\n", "task: deep_one\n"));
    let warned = run("deep_one");
    assert!(warned.code == Some(0) && warned.stdout.contains("`deep_one` is defined in"), "{}", warned.stdout);
    std::fs::remove_file(two).unwrap();
}

#[test]
fn groups_that_override_their_members_lose_no_task() {
    let context = Context::new();
    for name in ["one", "two"] {
        let text = CHOICE.replace("task: t\n", &format!("task: {name}\ntag: pair\n"));
        context.write(&format!("{name}.yaml"), &text);
    }
    context.write("inner.yaml", "group: inner\ntask: [one, two]\n");
    let listing = |group: &str| -> Value {
        let run = tasks(&context, "g.yaml", group);
        assert_eq!(run.code, Some(0), "{group}: {}", run.stderr);
        serde_json::from_str(&run.stdout).unwrap()
    };
    let names = |listing: &Value| -> Vec<(String, u64)> {
        let of = |task: &Value| (task["task"].as_str().unwrap().to_owned(), task["num_fewshot"].as_u64().unwrap());
        listing["tasks"].as_array().unwrap().iter().map(of).collect()
    };
    let own =
        |list: &[(&str, u64)]| -> Vec<(String, u64)> { list.iter().map(|(n, k)| ((*n).to_owned(), *k)).collect() };
    // A tag and a group, overridden under their own names.
    for member in
        ["{task: pair, num_fewshot: 1}", "{task: inner, num_fewshot: 1}", "{group: inner, num_fewshot: 1, task: [one]}"]
    {
        let found = listing(&format!("group: g\ntask:\n  - {member}\n"));
        assert_eq!(names(&found), own(&[("one", 1), ("two", 1)]), "{member}");
    }
    // The same task with two settings is two tasks.
    let found = listing("group: g\ntask:\n  - one\n  - {task: one, num_fewshot: 1}\n  - {task: one, num_fewshot: 0}\n");
    assert_eq!(names(&found), own(&[("one", 0), ("g::one", 1), ("g::one 2", 0)]));
    let members = &found["groups"][0]["members"];
    assert_eq!(*members, serde_json::json!(["one", "g::one", "g::one 2"]));
}

/// Python's `**/*.yaml`: what the harness indexes.
#[test]
fn the_suite_is_found_by_the_harness() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/tasks");
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name != "README.md").collect();
    assert!(
        names.len() == 23 && names.iter().all(|name| Path::new(name).extension().is_some_and(|e| e == "yaml")),
        "{names:?}"
    );
    let context = Context::new();
    let run = context.run(["tasks", folder.to_str().unwrap(), "--json"]);
    // Files of a folder are read with their data, which are not there.
    assert!(run.code == Some(1) && run.stderr.contains("was not found"), "{}", run.stderr);
}

#[test]
fn prompts_are_shown_with_the_flags_they_are_evaluated_with() {
    let context = Context::new();
    let file = fixture("tasks/prompts/plain.yaml");
    let data = fixture("tasks/prompts/data");
    let model = fixture("eval/model");
    let flags = [
        "--fewshot-sampler=first_n",
        "--num_fewshot",
        "2",
        "--apply_chat_template",
        "--fewshot-as-multiturn",
        "false",
        "--system_instruction",
        "Be brief.",
    ];
    let data = ["--data", data.to_str().unwrap()];
    let shown = prompt(&context, &file, &[&["--model", model.to_str().unwrap()], &data[..], &flags].concat());
    let out = context.path("out");
    let eval =
        ["eval", "--tasks", file.to_str().unwrap(), "--out", out.to_str().unwrap(), "--limit", "1", "-q", "--no-cache"];
    // The model comes last: no flag before it takes it for its value.
    let run = context.run(eval.iter().chain(&data).chain(&flags).chain(&[model.to_str().unwrap()]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let samples = super::context::files(&out).into_iter().find(|(name, _)| name.to_string_lossy().contains("samples_"));
    let text = String::from_utf8(samples.unwrap().1).unwrap();
    let sample: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(sample["arguments"]["gen_args_0"]["arg_0"], shown["context"]);
    assert_eq!(shown["messages"].as_array().unwrap().len(), 2, "system and one user message");
    let other = prompt(
        &context,
        &file,
        &[&["--model", model.to_str().unwrap()], &data[..], &flags[..4], &["--no-fewshot-as-multiturn"]].concat(),
    );
    assert_eq!(other["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn flags_of_the_harness_work_or_say_what_to_write() {
    let context = Context::new();
    let run =
        context.run(["eval", "--model", "hf", "--model_args", "pretrained=some/model,dtype=float32", "--tasks", "fpb"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("write `billon eval some/model"), "{}", run.stderr);
    let run = context.run(["eval", "--tasks", "fpb"]);
    assert!(run.code == Some(2) && run.stderr.contains("<MODEL>"), "{}", run.stderr);
    let (model, folder) = (fixture("eval/model"), fixture("tasks/prompts"));
    let out = context.path("out");
    let arguments = [
        "eval",
        model.to_str().unwrap(),
        "--tasks",
        "t_plain",
        "--include_path",
        folder.to_str().unwrap(),
        "--data",
        folder.join("data").to_str().unwrap(),
        "--num_fewshot",
        "1",
        "--output_path",
        out.to_str().unwrap(),
        "--batch_size",
        "auto",
        "--log_samples",
        "--trust_remote_code",
        "--limit",
        "2",
        "--no-cache",
    ]
    .map(str::to_owned);
    let run = context.run(arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for flag in ["--batch_size", "--log_samples", "--trust_remote_code"] {
        assert!(run.stderr.contains(&format!("`{flag}` is not needed")), "{flag}: {}", run.stderr);
    }
    assert!(out.is_dir());
}
