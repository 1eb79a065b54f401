//! `billon tasks`, and task files that can't be used.

use serde_json::Value;

use crate::context::{Context, fixture, shared};

#[test]
fn the_built_in_suite_is_listed() {
    let context = Context::new();
    let run = context.run(["tasks", "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let listing: Value = serde_json::from_str(&run.stdout).unwrap();
    let tasks = listing["tasks"].as_array().unwrap();
    let of = |role: &str| tasks.iter().filter(|t| t["role"] == role).count();
    assert_eq!((of("seen"), of("unseen"), of("general"), tasks.len()), (9, 4, 7, 20));
    assert!(tasks.iter().all(|t| t["documents"].is_null() && t["version"] == 1.0));
    let run = context.run(["tasks", "fpb,unseen"]);
    assert_eq!(run.code, Some(2));
    let run = context.run(["tasks", "fpb", "unseen", "financial_classification"]);
    assert_eq!(run.stdout.lines().filter(|line| line.contains("multiple_choice")).count(), 13, "{}", run.stdout);
}

#[test]
fn the_suite_is_read_with_its_data() {
    let Some(data) = shared("data") else { return };
    let context = Context::new();
    let mut command = context.command();
    let run = command.args(["tasks", "--json"]).env("BILLON_DATA", &data).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let listing: Value = serde_json::from_slice(&run.stdout).unwrap();
    let facts: Value = serde_json::from_str(&std::fs::read_to_string(data.join("tasks.json")).unwrap()).unwrap();
    for task in listing["tasks"].as_array().unwrap() {
        let name = task["task"].as_str().unwrap();
        assert_eq!(task["documents"], facts["tasks"][name]["counts"]["test"], "{name}");
        assert_eq!(task["warnings"], Value::Array(Vec::new()), "{name}");
    }
}

#[test]
fn a_prompt_is_shown_with_its_tokens_and_the_right_choice() {
    let context = Context::new();
    let file = fixture("tasks/prompts/plain.yaml");
    let data = fixture("tasks/prompts/data");
    let model = fixture("tokenizer/tiny");
    let show = |more: &[&str]| {
        let mut arguments = vec!["tasks", "show", file.to_str().unwrap(), "--data", data.to_str().unwrap()];
        arguments.extend(more);
        context.run(arguments)
    };
    let run = show(&["--doc", "1", "--whitespace", "--model", model.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("Wheat·fell·by·7·points.¶\nMove:\n--- end"), "{}", run.stdout);
    let marked: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with("* ")).collect();
    assert_eq!(marked.len(), 1);
    assert!(marked[0].starts_with("* \" down\"  ") && run.stdout.contains(" tokens: 0:<s> "), "{}", run.stdout);
    let run = show(&["--json", "--num-fewshot", "2", "--model", model.to_str().unwrap(), "--apply-chat-template"]);
    let shown: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (shown["messages"].as_array().unwrap().len(), shown["continuations"][0]["text"].as_str()),
        (5, Some("up"))
    );
    assert!(shown["context"].as_str().unwrap().starts_with("<s>user: "));
    // The template brings its own BOS.
    assert_eq!(shown["context_tokens"]["ids"].as_array().unwrap().iter().filter(|id| **id == 0).count(), 1);
    // The flags of `eval`, and the names that each command had for them before.
    for sampler in ["--fewshot-sampler", "--sampler"] {
        let more = ["--apply-chat-template", "--num-fewshot", "2", sampler, "first_n"];
        for turns in [&["--no-fewshot-as-multiturn"][..], &["--fewshot-as-multiturn", "false"]] {
            let run = show(&[&["--json", "--model", model.to_str().unwrap()], &more[..], turns].concat());
            let shown: Value = serde_json::from_str(&run.stdout).unwrap();
            assert_eq!(shown["messages"].as_array().unwrap().len(), 1, "{}", run.stderr);
        }
    }
    assert_eq!(show(&["--doc", "8"]).code, Some(2));
    assert_eq!(show(&["--apply-chat-template"]).code, Some(2));
}

/// One set of flags says how prompts are written, with one help text.
#[test]
fn prompt_flags_are_the_same_in_every_command_that_has_them() {
    let context = Context::new();
    let flags = [
        "--num-fewshot <K>",
        "--fewshot-seed <SEED>",
        "--fewshot-sampler <FEWSHOT_SAMPLER>",
        "--apply-chat-template[=<NAME>]",
        "--system-instruction <TEXT>",
        "--fewshot-as-multiturn <BOOL>",
    ];
    // A flag with its text, however the lines are broken.
    let help = |command: &[&str]| -> Vec<String> {
        let text = context.run(command.iter().copied().chain(["--help"])).stdout;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let entry = |flag: &&str| {
            let start = lines.iter().position(|line| line.contains(*flag))?;
            let more = lines[start + 1..].iter().take_while(|line| !line.is_empty() && !line.starts_with('-'));
            let words = std::iter::once(&lines[start]).chain(more).flat_map(|line| line.split_whitespace());
            Some(words.collect::<Vec<_>>().join(" "))
        };
        flags.iter().filter_map(entry).collect()
    };
    let of_eval = help(&["eval"]);
    assert_eq!(of_eval.len(), flags.len(), "{of_eval:?}");
    assert_eq!(help(&["tasks", "show"]), of_eval);
    assert_eq!(help(&["run"]), of_eval);
}

const TASK: &str = "task: t\ndataset_path: json\ndataset_kwargs: {data_files: {test: d.jsonl}}\ntest_split: test\n\
    output_type: multiple_choice\ndoc_to_text: \"{{q}}:\"\ndoc_to_target: a\ndoc_to_choice: [x, y]\n";

/// What is not supported is refused with its place, and every problem at once.
#[test]
fn files_that_cannot_be_used_say_where_and_why() {
    let context = Context::new();
    context.write("d.jsonl", "{\"q\": \"1\", \"a\": \"x\"}\n");
    for (more, expected) in [
        ("process_docs: !function utils.f\n", &["t.yml:9:15", "`!function utils.f` names Python code"][..]),
        ("process_docs: utils.f\n", &["t.yml:9:1", "`process_docs` is not supported: it runs Python"]),
        ("metric_list: [{metric: !function m.f}]\n", &["t.yml:9:", "`!function m.f` names Python code"]),
        ("num_fewshots: 2\n", &["t.yml:9:1", "did you mean `num_fewshot`?"]),
        ("fewshot_config: {sampel: first_n}\n", &["t.yml:9:", "unknown key of `fewshot_config` `sampel`"]),
        ("num_fewshot: -1\nrepeats: many\n", &["t.yml:9:", "t.yml:10:", "2 problems"]),
        ("fewshot_split: dev\n", &["split `dev` has no data file", "data_files has: test"]),
        ("description: \"{{ oops\"\n", &["t.yml:9:", "not a valid template"]),
        ("metadata: {role: known}\n", &["unknown role", "seen, unseen, general"]),
        ("include: other.yml\n", &["t.yml:9:", "other.yml` does not exist"]),
        ("include: t.yml\n", &["includes itself"]),
        ("unsafe_code: true\n", &["never runs code"]),
    ] {
        let file = context.write("t.yml", &format!("{TASK}{more}"));
        let run = context.run(["tasks", file.to_str().unwrap()]);
        assert_eq!(run.code, Some(2), "{more}: {}{}", run.stdout, run.stderr);
        for text in expected {
            assert!(run.stderr.contains(text), "{more}: {}", run.stderr);
        }
    }
    for (from, to, expected) in [
        ("json", "squad", "would have to be downloaded"),
        ("[x, y]", "[yes, no]", "put it in quotes"),
        ("output_type: multiple_choice", "output_type: choice", "unknown output type"),
        ("doc_to_target: a\n", "", "key `doc_to_target` is missing"),
    ] {
        let file = context.write("t.yml", &TASK.replacen(from, to, 1));
        let run = context.run(["tasks", file.to_str().unwrap()]);
        assert!(run.code == Some(2) && run.stderr.contains(expected), "{to}: {}", run.stderr);
    }
    let run = context.run(["tasks", "fbp"]);
    assert!(run.code == Some(2) && run.stderr.contains("did you mean `fpb`?"), "{}", run.stderr);
}

#[test]
fn data_that_cannot_be_used_say_where_and_why() {
    let context = Context::new();
    let file = context.write("t.yml", TASK);
    let run = |rows: &[u8]| {
        std::fs::write(context.path("d.jsonl"), rows).unwrap();
        context.run(["tasks", file.to_str().unwrap()])
    };
    let missing = context.run(["tasks", file.to_str().unwrap()]);
    assert!(
        missing.code == Some(1) && missing.stderr.contains("`d.jsonl` of split `test` was not found"),
        "{}",
        missing.stderr
    );
    for (rows, expected) in [
        (&b"\n"[..], "has no documents"),
        (b"{\"q\": \"1\", \"a\": \"x\"}\n{\"q\"}\n", "d.jsonl:2: the row is not valid JSON"),
        (b"{\"q\": \"1\", \"a\": \"x\"}\n{\"q\": \"\xe9\"}\n", "d.jsonl:2: the row is not UTF-8"),
        (b"{\"question\": \"1\", \"a\": \"x\"}\n", "the document has no `q`; it has: question, a"),
    ] {
        let run = run(rows);
        assert!(run.code == Some(1) && run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
    let odd = run(b"{\"q\": \"1\", \"a\": \"z\", \"id\": 1}\n{\"q\": \"2\", \"a\": \"y\", \"id\": 1}\n");
    assert_eq!(odd.code, Some(0), "{}", odd.stderr);
    assert!(
        odd.stdout.contains("the right answer of 1 document is none of the choices (\"z\" of document 0"),
        "{}",
        odd.stdout
    );
    assert!(odd.stdout.contains("1 documents of split `test` repeat an id"), "{}", odd.stdout);
}
