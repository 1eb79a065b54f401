//! Results and limits that `billon gate` and `billon compare` must not take for something else.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::context::{Context, Run};

/// Values of each metric, document by document.
type Metrics = Vec<(&'static str, Vec<Value>)>;

/// Results in the harness's layout, one task a name, with the values of its metrics by document.
struct Results {
    folder: &'static str,
    top: Value,
    tasks: Vec<(&'static str, Metrics)>,
}

const STAMP: &str = "2026-01-01T00-00-00.000000";

impl Results {
    fn new(folder: &'static str, task: &'static str, metrics: Vec<(&'static str, Vec<Value>)>) -> Self {
        Self { folder, top: json!({}), tasks: vec![(task, metrics)] }
    }

    fn top(mut self, top: Value) -> Self {
        self.top = top;
        self
    }

    /// Writes the files; a score is the mean of numbers, else 0.5.
    fn write(&self, context: &Context) -> PathBuf {
        let (mut results, mut versions, mut shots) = (json!({}), json!({}), json!({}));
        for (task, metrics) in &self.tasks {
            let mut text = String::new();
            let documents = metrics[0].1.len();
            for document in 0..documents {
                let mut line = json!({
                    "doc_id": document, "doc": {"q": document}, "target": "x", "arguments": {}, "resps": [[self.folder]],
                    "filtered_resps": [self.folder], "filter": "none", "doc_hash": format!("{task}d{document}"),
                    "prompt_hash": format!("{task}p{document}"), "target_hash": format!("{task}t{document}"),
                });
                for (metric, values) in metrics {
                    line[*metric] = values[document].clone();
                }
                text.push_str(&line.to_string());
                text.push('\n');
            }
            context.write(&format!("{}/samples_{task}_{STAMP}.jsonl", self.folder), &text);
            results[*task] = json!({"alias": task});
            for (metric, values) in metrics {
                let numbers: Option<Vec<f64>> = values.iter().map(Value::as_f64).collect();
                let mean = numbers.map_or(0.5, |list| list.iter().sum::<f64>() / list.len() as f64);
                let finite = values.iter().all(|value| !value.is_null());
                results[*task][format!("{metric},none")] = if finite { json!(mean) } else { Value::Null };
            }
            versions[*task] = json!(1);
            shots[*task] = json!(0);
        }
        let mut top = json!({
            "results": results, "versions": versions, "n-shot": shots, "config": {"fewshot_seed": 1234},
            "chat_template_sha": null, "fewshot_as_multiturn": null,
        });
        for (key, value) in self.top.as_object().unwrap() {
            top[key] = value.clone();
        }
        // The harness writes NaN where a number should be.
        let text = top.to_string().replace("\"acc,none\":null", "\"acc,none\":NaN");
        context.write(&format!("{}/results_{STAMP}.json", self.folder), &text).parent().unwrap().to_path_buf()
    }
}

fn right(count: usize, right: usize) -> Vec<Value> {
    (0..count).map(|index| json!(u8::from(index < right))).collect()
}

fn labels(pairs: &[(i32, i32, usize)]) -> Vec<Value> {
    let documents = pairs.iter().flat_map(|&(gold, predicted, count)| std::iter::repeat_n((gold, predicted), count));
    documents.map(|(gold, predicted)| json!([gold, predicted])).collect()
}

fn gate(context: &Context, paths: [&PathBuf; 2], options: &[&str]) -> Run {
    let paths = paths.map(|path| path.to_str().unwrap());
    context.run(["gate"].iter().chain(paths.iter()).chain(options))
}

#[track_caller]
fn assert_refused(run: &Run, code: i32, parts: &[&str]) {
    assert_eq!(run.code, Some(code), "{}{}", run.stdout, run.stderr);
    assert_eq!(run.stdout, "", "no verdict");
    for part in parts {
        assert!(run.stderr.contains(part), "{part} is not in:\n{}", run.stderr);
    }
}

#[test]
fn limits_in_percentage_points_are_refused_with_the_share_that_was_meant() {
    let context = Context::new();
    let accuracy = Results::new("acc", "t", vec![("acc", right(40, 20))]).write(&context);
    let f1 = Results::new("f1", "t", vec![("f1_macro", labels(&[(0, 0, 20), (1, 1, 20)]))]).write(&context);
    for base in [&accuracy, &f1] {
        for (options, parts) in [
            (["--max-drop", "2"], ["`max_drop` 2 is out of range", "2 % is written 0.02"]),
            (["--max-drop-rel", "5"], ["from 0 to 1", "5 % is written 0.05"]),
            (["--min", "70"], ["`min` 70 is out of range", "70 % is written 0.7"]),
            (["--alpha", "5"], ["0.001 to below 0.5", "5 % is written 0.05"]),
            (["--max-drop", "-0.02"], ["0 or more", "without a sign: 0.02"]),
            (["--max-drop", "2%"], ["0 or more", "2 % is written 0.02"]),
            (["--max-drop", "nan"], ["a number of 0 or more", "--max-drop"]),
            (["--min", "-0.5"], ["`min` -0.5 is out of range", "from 0 to 1"]),
        ] {
            assert_refused(&gate(&context, [base, base], &options), 2, &parts);
        }
        // The whole range is allowed, and then nothing can break it.
        let run = gate(&context, [base, base], &["--max-drop", "1"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    // A loss of everything sits at that limit, which is no proof either way.
    let all_lost = labels(&[(0, 1, 20), (1, 0, 20)]);
    let lost = Results::new("lost", "t", vec![("f1_macro", all_lost)]).write(&context);
    let run = gate(&context, [&f1, &lost], &["--max-drop", "1"]);
    assert!(run.stdout.contains("INCONCLUSIVE") && run.stdout.contains("no number of documents"), "{}", run.stdout);
    let config = context.write("g.yml", "alpha: 0.1\ndefault:\n  max_drop: 2\n");
    let run = gate(&context, [&accuracy, &accuracy], &["--config", config.to_str().unwrap()]);
    assert_refused(&run, 2, &["g.yml:3:13", "3 |   max_drop: 2", "2 % is written 0.02"]);
    let config = context.write("g.yml", "groups:\n  all: {tasks: [t], min: 70}\n");
    let run = gate(&context, [&accuracy, &accuracy], &["--config", config.to_str().unwrap()]);
    assert_refused(&run, 2, &["g.yml:2:26", "70 % is written 0.7"]);
    // A perplexity has no such range.
    let perplexity: Vec<Value> = (0..40).map(|index| json!(-1.0 - f64::from(index) / 40.0)).collect();
    let base = Results::new("ppl", "t", vec![("perplexity", perplexity)]).write(&context);
    let run = gate(&context, [&base, &base], &["--max-drop", "2"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn the_metric_is_the_baselines_and_a_candidate_without_it_is_an_error() {
    let context = Context::new();
    let both = || vec![("acc", right(40, 30)), ("acc_norm", right(40, 30))];
    let base = Results::new("base", "t", both()).write(&context);
    let missing = Results::new("missing", "t", vec![("acc_norm", right(40, 30))]).write(&context);
    let nan =
        Results::new("nan", "t", vec![("acc", vec![Value::Null; 40]), ("acc_norm", right(40, 30))]).write(&context);
    for command in ["gate", "compare"] {
        for (candidate, parts) in [
            (&missing, ["lacks the metric `acc,none`", "its metrics: acc_norm,none"]),
            (&nan, ["`acc,none` of task `t` is not a number", "acc_norm,none"]),
        ] {
            let run = context.run([command, base.to_str().unwrap(), candidate.to_str().unwrap()]);
            assert_refused(&run, 1, &parts);
            let named = [command, base.to_str().unwrap(), candidate.to_str().unwrap(), "--metric", "acc_norm"];
            let run = context.run(named);
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            assert!(run.stdout.contains("acc_norm,none"), "{}", run.stdout);
        }
        // The same the other way round: a metric that only the candidate has is not judged.
        let run = context.run([command, nan.to_str().unwrap(), base.to_str().unwrap()]);
        assert_refused(&run, 1, &["`acc,none` of task `t` is not a number", "nan/results"]);
    }
    // The order of the candidate's file does not matter.
    let turned = vec![("acc_norm", right(40, 10)), ("acc", right(40, 30))];
    let turned = Results::new("turned", "t", turned).write(&context);
    let run = gate(&context, [&base, &turned], &["--json", "--max-drop", "0.5"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&report["checks"][0]["metric"], &report["checks"][0]["candidate"]), (&json!("acc,none"), &json!(0.75)));
}

#[test]
fn bookkeeping_of_the_harness_is_no_difference() {
    let context = Context::new();
    let results = |folder| Results::new(folder, "t", vec![("acc", right(40, 30))]);
    // lm-eval writes turns without a template, versions as reals, and older releases no seed.
    let theirs = json!({"fewshot_as_multiturn": true, "n-shot": {"t": 3}, "versions": {"t": 1.0}, "config": {}});
    let theirs = results("theirs").top(theirs).write(&context);
    let ours = results("ours").top(json!({"n-shot": {"t": 3}})).write(&context);
    for pair in [[&theirs, &ours], [&ours, &theirs]] {
        let run = gate(&context, pair, &["--max-drop", "0.5"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let run = context.run(["compare", pair[0].to_str().unwrap(), pair[1].to_str().unwrap()]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    // With a template turns are text, and two versions are two tasks.
    let turns = |turns| json!({"fewshot_as_multiturn": turns, "n-shot": {"t": 3}, "chat_template_sha": "c"});
    let (a, b) = (results("a").top(turns(true)).write(&context), results("b").top(turns(false)).write(&context));
    assert_refused(
        &gate(&context, [&a, &b], &[]),
        1,
        &["few-shot turns: true in the baseline, false in the candidate"],
    );
    let newer = results("newer").top(json!({"n-shot": {"t": 3}, "versions": {"t": 2}})).write(&context);
    assert_refused(&gate(&context, [&ours, &newer], &[]), 1, &["task version: 1 in the baseline, 2 in the candidate"]);
}

#[test]
fn rules_that_apply_to_nothing_are_errors_with_their_place() {
    let context = Context::new();
    let base = Results::new("base", "t", vec![("acc", right(40, 30))]).write(&context);
    for (text, code, parts) in [
        (
            "roles:\n  seen: {min: 0.9}\n",
            2,
            &["g.yml:2:3", "no task of the results has that role", "metadata: {role: seen}"][..],
        ),
        ("groups:\n  m: {role: unseen, max_drop: 0.1}\n", 2, &["g.yml:2:3", "group `m` is of role `unseen`"]),
        ("tasks: {tt: {max_drop: 0.1}}\n", 2, &["no task `tt`"]),
        ("only: [t]\ntasks:\n  u: {max_drop: 0.1}\n", 2, &["g.yml:3:3", "`only` leaves it out"]),
    ] {
        let config = context.write("g.yml", text);
        assert_refused(&gate(&context, [&base, &base], &["--config", config.to_str().unwrap()]), code, parts);
    }
    let config = context.write("g.yml", "tasks: {t: {role: seen}}\nroles: {seen: {min: 0.9}}\n");
    let run = gate(&context, [&base, &base], &["--config", config.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&report["checks"][1]["rule"], &report["checks"][1]["role"]), (&json!("min"), &json!("seen")));
    // A group of a role whose only task is left out.
    let mut two = Results::new("two", "t", vec![("acc", right(40, 30))]);
    two.tasks.push(("u", vec![("acc", right(40, 30))]));
    let two = two.write(&context);
    let config = context.write("g.yml", "tasks: {u: {role: unseen}}\ngroups:\n  m: {role: unseen, max_drop: 0.1}\n");
    let run = gate(&context, [&two, &two], &["--config", config.to_str().unwrap(), "--tasks", "t"]);
    assert_refused(&run, 2, &["g.yml:3:3", "group `m` has no task among those that are checked"]);
    // `--tasks` with a name that the gate file misspells.
    let config = context.write("g.yml", "tasks: {tt: {max_drop: 0.1}}\n");
    let run = gate(&context, [&base, &base], &["--config", config.to_str().unwrap(), "--tasks", "t"]);
    assert_refused(&run, 2, &["no task `tt`"]);
}

#[test]
fn a_mean_over_metrics_without_a_common_scale_is_an_error() {
    let context = Context::new();
    let perplexity: Vec<Value> = (0..40).map(|index| json!(-1.0 - f64::from(index) / 40.0)).collect();
    let mut results = Results::new("base", "a", vec![("acc", right(40, 30))]);
    results.tasks.push(("p", vec![("perplexity", perplexity)]));
    let base = results.top(json!({"group_subtasks": {"both": ["a", "p"]}})).write(&context);
    let config = context.write("g.yml", "groups: {both: {max_drop: 0.1}}\n");
    let run = gate(&context, [&base, &base], &["--config", config.to_str().unwrap()]);
    assert_refused(&run, 2, &["g.yml:1:10", "without a common scale: a (acc), p (perplexity)"]);
    let run = context.run(["compare", base.to_str().unwrap(), base.to_str().unwrap()]);
    assert!(run.stdout.contains("both: no mean, as its tasks have no common scale"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_directory_of_several_models_is_an_error_that_lists_them() {
    let context = Context::new();
    let accuracy = || vec![("acc", right(40, 30))];
    let one = Results::new("res/m1", "t", accuracy()).write(&context);
    Results::new("res/m2", "t", accuracy()).write(&context);
    let both = context.path("res");
    for command in ["gate", "compare"] {
        let run = context.run([command, both.to_str().unwrap(), one.to_str().unwrap()]);
        assert_refused(&run, 1, &["several models", "res/m1/results_", "res/m2/results_", "name one of these files"]);
    }
    // Two runs of one model: the newer one, and the table says which that was.
    let named = |name: &str, arguments: &str| json!({"model_name": name, "config": {"model_args": arguments}});
    let write = |time: &str, top: Value| {
        let from = Results::new("fresh", "t", accuracy()).top(top).write(&context);
        for (start, end) in [("results", "json"), ("samples_t", "jsonl")] {
            let text = std::fs::read_to_string(from.join(format!("{start}_{STAMP}.{end}"))).unwrap();
            context.write(&format!("twice/{start}_{time}.{end}"), &text);
        }
        context.path("twice")
    };
    write("2026-01-02T00-00-00.000000", named("org/x", "pretrained=org/x,dtype=float32"));
    let twice = write("2026-01-03T00-00-00.000000", named("org/x", "pretrained=org/x,dtype=bfloat16"));
    let run = gate(&context, [&twice, &one], &["--max-drop", "0.5"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let table = &run.stdout;
    assert!(table.contains("twice/results_2026-01-03") && table.contains("res/m1/results_2026"), "{table}");
    // An adapter makes another model of the same base.
    write("2026-01-04T00-00-00.000000", named("org/x", "pretrained=org/x,peft=org/lora"));
    assert_refused(&gate(&context, [&twice, &one], &[]), 1, &["several models", "2026-01-03", "2026-01-04"]);
}

#[test]
fn the_rule_stands_beside_the_verdict() {
    let context = Context::new();
    let base = Results::new("base", "t", vec![("acc", right(40, 30))]).write(&context);
    let run = gate(&context, [&base, &base], &[]);
    assert!(
        run.stdout.contains("rule       max_drop 0.05 for every task; alpha 0.05 (the default rule)\n"),
        "{}",
        run.stdout
    );
    let config = context.write(
        "g.yml",
        "default: {max_drop: 0.02}\ntasks: {t: {role: seen, min: 0.2}}\nroles: {seen: {max_drop: 0.01}}\nalpha: 0.1\n",
    );
    let (junit, markdown) = (context.path("g.xml"), context.path("g.md"));
    let options = ["--config", "--junit", "--markdown"].into_iter().zip([&config, &junit, &markdown]);
    let options: Vec<&str> = options.flat_map(|(option, path)| [option, path.to_str().unwrap()]).collect();
    let run = gate(&context, [&base, &base], &options);
    let rule =
        "max_drop 0.01 for seen tasks, max_drop 0.02 for all other tasks, min 0.2 and max_drop 0.01 for t; alpha 0.1";
    assert!(run.stdout.contains(&format!("rule       {rule}\n")), "{}{}", run.stdout, run.stderr);
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains(&format!("<property name=\"rule\" value=\"{rule}\"/>")), "{xml}");
    assert!(std::fs::read_to_string(markdown).unwrap().contains("Rule: max"));
}

#[test]
fn a_samples_file_that_was_cut_short_is_an_error() {
    let context = Context::new();
    let whole = json!({"n-samples": {"t": {"original": 40, "effective": 40}}});
    let base = Results::new("base", "t", vec![("acc", right(40, 30))]).top(whole.clone()).write(&context);
    let cut = Results::new("cut", "t", vec![("acc", right(39, 30))]).top(whole).write(&context);
    for command in ["gate", "compare"] {
        let run = context.run([command, base.to_str().unwrap(), cut.to_str().unwrap()]);
        assert_refused(&run, 1, &["holds 39 samples of task `t`, and its results are of 40", "cut short"]);
    }
}

/// The reported case: 200 documents, a class of 2 %, none of its four documents lost.
#[test]
fn a_class_of_four_documents_leaves_macro_f1_open_and_is_named() {
    let context = Context::new();
    let base = labels(&[(0, 0, 195), (0, 1, 1), (1, 1, 4)]);
    let base = Results::new("base", "t", vec![("f1_macro", base)]).write(&context);
    let same = labels(&[(0, 0, 195), (0, 1, 1), (1, 1, 4)]);
    let same = Results::new("same", "t", vec![("f1_macro", same)]).write(&context);
    let run = gate(&context, [&base, &same], &["--max-drop", "0.135", "--fail-on-inconclusive"]);
    assert_eq!(run.code, Some(102), "{}", run.stdout);
    assert!(run.stdout.contains("label 1 has 4 of them, too few"), "{}", run.stdout);
    // With eighty of them it can be told.
    let many = || labels(&[(0, 0, 118), (0, 1, 2), (1, 1, 80)]);
    let base = Results::new("many", "t", vec![("f1_macro", many())]).write(&context);
    let same = Results::new("again", "t", vec![("f1_macro", many())]).write(&context);
    let run = gate(&context, [&base, &same], &["--max-drop", "0.135"]);
    assert!(run.stdout.contains("gate: PASS"), "{}", run.stdout);
    // One class alone shows nothing of the other.
    let lonely = || labels(&[(0, 0, 100)]);
    let base = Results::new("one", "t", vec![("f1_macro", lonely())]).write(&context);
    let same = Results::new("one-again", "t", vec![("f1_macro", lonely())]).write(&context);
    let run = gate(&context, [&base, &same], &["--max-drop", "0.135"]);
    assert!(run.stdout.contains("gate: INCONCLUSIVE"), "{}", run.stdout);
}
