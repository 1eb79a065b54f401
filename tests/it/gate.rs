//! `billon gate` and `billon compare` on generated results: verdicts, exit codes, files, refusals.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::context::{Context, Run};

/// What a case changes in the candidate's results.
type Change = fn(&mut Results);

/// A task's name, role and whether each answer is right.
type Task = (&'static str, Option<&'static str>, Vec<bool>);

/// A run to be written: which documents of a task are right.
struct Results {
    model: &'static str,
    tasks: Vec<Task>,
    fewshot: u64,
    seed: u64,
    template: Option<&'static str>,
    protocol: &'static str,
    prompt: &'static str,
}

impl Results {
    fn new(model: &'static str, tasks: Vec<Task>) -> Self {
        Self { model, tasks, fewshot: 0, seed: 1234, template: None, protocol: "choice-ll", prompt: "Is it?" }
    }

    fn write(&self, context: &Context) -> PathBuf {
        let mut results = serde_json::Map::new();
        let mut own = serde_json::Map::new();
        let mut shots = serde_json::Map::new();
        for (task, role, right) in &self.tasks {
            let mean = right.iter().filter(|r| **r).count() as f64 / right.len() as f64;
            results.insert((*task).into(), json!({"alias": task, "acc,choice-ll": mean, "acc_stderr,choice-ll": 0.01}));
            own.insert((*task).into(), json!({"role": role, "protocol": self.protocol}));
            shots.insert((*task).into(), json!(self.fewshot));
            let mut text = String::new();
            for (index, right) in right.iter().enumerate() {
                let (yes, no) = if *right { ("-0.5", "-1.25") } else { ("-2.0", "-0.75") };
                // The model's own digits, so that no two models answer identically.
                let no = format!("{no}{}", self.model.len());
                let line = json!({
                    "doc_id": index, "doc": {"n": index}, "target": "yes",
                    "arguments": {"gen_args_0": {"arg_0": self.prompt, "arg_1": " yes"}, "gen_args_1": {"arg_0": self.prompt, "arg_1": " n|o"}},
                    "resps": [[[yes, "True"]], [[no, "False"]]],
                    "filtered_resps": [[yes, "True"], [no, "False"]],
                    "filter": "choice-ll", "metrics": ["acc"],
                    "doc_hash": format!("d{index}"), "prompt_hash": format!("p{index}{}", self.prompt), "target_hash": "t",
                    "acc": f64::from(u8::from(*right)),
                });
                text.push_str(&line.to_string());
                text.push('\n');
            }
            context.write(&format!("{}/samples_{task}_2026.jsonl", self.model), &text);
        }
        let top = json!({
            "results": results, "n-shot": shots, "config": {"fewshot_seed": self.seed},
            "chat_template_sha": self.template, "higher_is_better": {}, "billon": {"tasks": own},
            "group_subtasks": {"all": self.tasks.iter().map(|(task, ..)| *task).collect::<Vec<_>>()},
        });
        let path = context.write(&format!("{}/results_2026.json", self.model), &top.to_string());
        path.parent().unwrap().to_path_buf()
    }
}

/// `n` documents of which the first `right` are right; `lost` of those are then wrong.
fn answers(n: usize, right: usize, lost: usize) -> Vec<bool> {
    (0..n).map(|index| index < right && index >= lost).collect()
}

fn gate(context: &Context, baseline: &Results, candidate: &Results, options: &[&str]) -> Run {
    let (a, b) = (baseline.write(context), candidate.write(context));
    let paths = [a.to_str().unwrap().to_owned(), b.to_str().unwrap().to_owned()];
    let options = options.iter().map(|option| (*option).to_owned());
    context.run(["gate".to_owned()].into_iter().chain(paths).chain(options))
}

#[test]
fn a_verdict_decides_the_exit_code() {
    let baseline = || Results::new("base", vec![("fpb", Some("seen"), answers(1000, 800, 0))]);
    for (lost, options, code, verdict) in [
        (100, &[][..], 100, "FAIL"),
        (0, &[], 0, "PASS"),
        (13, &["--max-drop", "0.01"], 0, "INCONCLUSIVE"),
        (13, &["--max-drop", "0.01", "--fail-on-inconclusive"], 102, "INCONCLUSIVE"),
        (13, &[], 0, "PASS"),
        (100, &["--max-drop-rel", "0.2"], 0, "PASS"),
        (100, &["--max-drop-rel", "0.05"], 100, "FAIL"),
        (0, &["--min", "0.9"], 100, "FAIL"),
        (0, &["--min", "0.7"], 0, "PASS"),
    ] {
        let context = Context::new();
        let candidate = Results::new("tuned", vec![("fpb", Some("seen"), answers(1000, 800, lost))]);
        let run = gate(&context, &baseline(), &candidate, options);
        assert_eq!(run.code, Some(code), "{lost} {options:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(&format!("gate: {verdict} (")), "{lost} {options:?}: {}", run.stdout);
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn reports_say_what_was_lost_and_agree_with_the_exit_code() {
    let context = Context::new();
    let tasks =
        |lost| vec![("fpb", Some("seen"), answers(400, 300, lost)), ("fomc", Some("unseen"), answers(300, 200, 1))];
    let baseline = Results::new(
        "base",
        vec![("fpb", Some("seen"), answers(400, 300, 0)), ("fomc", Some("unseen"), answers(300, 200, 0))],
    );
    let candidate = Results::new("tuned", tasks(60));
    let (junit, markdown) = (context.path("out/gate.xml"), context.path("out/gate.md"));
    let options = ["--json", "--junit", junit.to_str().unwrap(), "--markdown", markdown.to_str().unwrap()];
    let run = gate(&context, &baseline, &candidate, &options);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["verdict"], "fail");
    assert_eq!(report["checks"][0]["verdict"], "fail");
    assert_eq!(report["checks"][1]["verdict"], "pass");
    assert_eq!(report["checks"][0]["evidence"]["test"], "exact");
    assert_eq!(report["flips"][0][1].as_array().unwrap().len(), 60);
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\""), "{xml}");
    assert!(xml.contains("<failure type=\"FAIL\"") && xml.contains("name=\"fpb acc,choice-ll max_drop\""), "{xml}");
    let markdown = std::fs::read_to_string(markdown).unwrap();
    assert!(markdown.starts_with("## Gate: FAIL\n") && markdown.contains("### fpb: 60 lost, 0 won"), "{markdown}");
    assert!(markdown.contains("n\\|o") && markdown.contains("55 more lost documents"), "{markdown}");
    assert_eq!(context.leftovers(), Vec::<String>::new());
}

#[test]
fn a_gate_file_sets_tasks_groups_and_the_baseline() {
    let context = Context::new();
    Results::new("base", vec![("a", None, answers(500, 400, 0)), ("b", None, answers(500, 400, 0))]).write(&context);
    let candidate = Results::new("tuned", vec![("a", None, answers(500, 400, 40)), ("b", None, answers(500, 400, 0))])
        .write(&context);
    let config = context.write(
        "gate.yml",
        "baseline: base\ntasks:\n  a: {max_drop: 0.2}\ngroups:\n  all: {max_drop: 0.03}\n  both: {tasks: [a, b], max_drop: 0.2}\n",
    );
    let run = context.run(["gate", candidate.to_str().unwrap(), "--config", config.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let verdicts: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|c| (c["name"].clone(), c["verdict"].clone())).collect();
    let expected =
        [("a", "pass"), ("b", "pass"), ("all", "inconclusive"), ("both", "pass")].map(|(n, v)| (json!(n), json!(v)));
    assert_eq!(verdicts, expected, "{}", run.stderr);
    assert_eq!(run.code, Some(0));
}

#[test]
fn results_of_different_prompt_settings_are_refused_by_name() {
    let tasks = || vec![("fpb", None, answers(100, 80, 0))];
    let cases: [(&str, Change); 6] = [
        ("few-shot count", |r| r.fewshot = 2),
        ("few-shot seed", |r| (r.fewshot, r.seed) = (3, 99)),
        ("chat template", |r| r.template = Some("abc")),
        ("protocol", |r| r.protocol = "strict-gen"),
        ("prompts: 100 of 100", |r| r.prompt = "Was it?"),
        ("documents: 100 in the baseline, 90 in the candidate, 90 shared", |r| r.tasks[0].2.truncate(90)),
    ];
    for (expected, change) in cases {
        let context = Context::new();
        let mut baseline = Results::new("base", tasks());
        let mut candidate = Results::new("tuned", tasks());
        if expected == "few-shot seed" {
            baseline.fewshot = 3;
        }
        change(&mut candidate);
        let run = gate(&context, &baseline, &candidate, &[]);
        assert_eq!(run.code, Some(1), "{expected}: {}", run.stdout);
        assert!(run.stderr.contains(expected) && run.stderr.contains("`fpb`"), "{expected}: {}", run.stderr);
        let compared = context.run([
            "compare",
            context.path("base").to_str().unwrap(),
            context.path("tuned").to_str().unwrap(),
            "--allow-mismatch",
        ]);
        assert!(compared.code == Some(0) && compared.stdout.contains(expected), "{expected}: {}", compared.stderr);
    }
}

#[test]
fn bad_input_is_an_error_and_never_a_verdict() {
    let context = Context::new();
    let base = Results::new("base", vec![("fpb", None, answers(50, 40, 0)), ("fomc", None, answers(50, 40, 0))])
        .write(&context);
    let less = Results::new("less", vec![("fpb", None, answers(50, 40, 0))]).write(&context);
    let (base, less) = (base.to_str().unwrap(), less.to_str().unwrap());
    let config = context.write("gate.yml", "tasks:\n  fpb: {max_dorp: 0.1}\n");
    for (arguments, code, message) in [
        (vec!["gate", base], 2, "no baseline"),
        (vec!["gate", base, less], 2, "no task `fomc`"),
        (vec!["gate", base, less, "--tasks", "fbp"], 2, "no task `fbp`"),
        (vec!["gate", base, base, "--metric", "f1"], 2, "no metric `f1`"),
        (vec!["gate", base, "/nowhere"], 1, "cannot read /nowhere"),
        (vec!["gate", base, base, "--alpha", "0.9"], 2, "below 0.5"),
        (vec!["gate", base, base, "--config", config.to_str().unwrap()], 2, "did you mean `max_drop`?"),
    ] {
        let run = context.run(&arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(message), "{arguments:?}: {}", run.stderr);
    }
    // A run against itself has not dropped, however few its documents are.
    let run = context.run(["gate", base, base]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("gate: PASS"), "{}", run.stdout);
}

#[test]
fn the_example_gate_file_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/ci/gate.yml");
    let config = billon::internal::GateConfig::parse("gate.yml", &std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(config.rules("fpb", Some("seen")).min, Some(0.7));
    assert_eq!((config.rules("x", Some("seen")).max_drop, config.groups.len()), (Some(0.01), 1));
}
