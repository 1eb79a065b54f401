//! `billon eval` against lm-evaluation-harness: the same model, tasks and documents
//! (`fixtures/eval/make_lm_eval_results.py` made the expected numbers).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::context::{Context, Run, fixture};

/// Runs an evaluation of the tiny model on the invented tasks; answers are not remembered.
fn eval(context: &Context, out: &Path, tasks: &str, options: &[&str]) -> Run {
    let mut arguments: Vec<String> = vec!["eval".into(), fixture("eval/model").display().to_string()];
    let folder = fixture("tasks/prompts");
    arguments.extend(["--tasks".into(), tasks.into(), "--include-path".into(), folder.display().to_string()]);
    arguments.extend(["--data".into(), folder.join("data").display().to_string()]);
    arguments.extend(["--out".into(), out.display().to_string(), "-j".into(), "2".into()]);
    arguments.extend(options.iter().map(|o| (*o).to_owned()));
    context.run(arguments)
}

/// The results file and the samples of each task below a folder.
fn read(out: &Path) -> (Value, BTreeMap<String, Vec<Value>>) {
    let (mut results, mut samples) = (Value::Null, BTreeMap::new());
    for (name, bytes) in super::context::files(out) {
        let text = String::from_utf8(bytes).unwrap();
        let name = name.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("results_") {
            results = serde_json::from_str(&text).unwrap();
        } else if let Some(task) = name.strip_prefix("samples_") {
            let task = task.rsplit_once('_').unwrap().0.to_owned();
            samples.insert(task, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect());
        }
    }
    (results, samples)
}

/// A logged number: ours are Python's spelling of a number, the harness's file has numbers.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| value.as_str() == Some("True"))
}

#[test]
fn scores_and_texts_are_the_harnesses() {
    let text = std::fs::read_to_string(fixture("eval/expected.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 12);
    let context = Context::new();
    let (mut compared, mut replaced) = (0, 0);
    for (index, case) in cases.iter().enumerate() {
        let task = case["task"].as_str().unwrap();
        let shots = case["num_fewshot"].as_u64().map(|n| n.to_string());
        let mut options = vec!["--no-cache"];
        if let Some(shots) = &shots {
            options.extend(["--num-fewshot", shots]);
        }
        if case["chat"] == true {
            options.push("--apply-chat-template");
        }
        let out = context.path(&index.to_string());
        let run = eval(&context, &out, task, &options);
        assert_eq!(run.code, Some(0), "{task}: {}", run.stderr);
        let (results, samples) = read(&out);
        for (key, value) in case["results"].as_object().unwrap() {
            let ours = &results["results"][task][key];
            let (x, y) = (number(ours), value.as_f64().unwrap());
            assert!((x - y).abs() <= 1e-4 * y.abs().max(1.0), "{task} {key}: {x}, the harness has {y}");
        }
        let expected = case["samples"].as_array().unwrap();
        let ours = &samples[task];
        // The harness shows some documents themselves as examples; billon never does, and says so.
        let shown = run.stderr.contains("shown themselves");
        assert_eq!(ours.len(), expected.len(), "{task}");
        for (ours, expected) in ours.iter().zip(expected) {
            let what = format!("{task} {options:?} {}", expected["doc_id"]);
            if shown && ours["prompt_hash"] != expected["prompt_hash"] {
                replaced += 1;
                continue;
            }
            for key in ["doc_id", "filter", "doc_hash", "prompt_hash", "target_hash"] {
                assert_eq!(ours[key], expected[key], "{what}: {key}");
            }
            for (x, y) in ours["resps"].as_array().unwrap().iter().zip(expected["resps"].as_array().unwrap()) {
                let (x, y) = (&x[0], &y[0]);
                if let Some(text) = y.as_str() {
                    assert_eq!(x.as_str(), Some(text), "{what}");
                } else if let Some(pair) = y.as_array() {
                    let distance = (number(&x[0]) - number(&pair[0])).abs();
                    assert!(distance <= 1e-4, "{what}: {x} {y}");
                    assert_eq!(flag(&x[1]), flag(&pair[1]), "{what}");
                } else {
                    assert!((number(x) - number(y)).abs() <= 2e-4, "{what}: {x} {y}");
                }
                compared += 1;
            }
            if expected["filter"] != "none" {
                assert_eq!(ours["filtered_resps"], expected["filtered_resps"], "{what}");
            }
        }
    }
    assert!(replaced <= 6, "{replaced} documents have other examples than the harness's");
    assert!(compared > 200, "only {compared} answers compared");
}

#[test]
fn answers_do_not_depend_on_batches_or_threads_and_are_remembered() {
    let context = Context::new();
    let tasks = "t_plain,t_next,t_rolling,t_sums";
    let mut all = Vec::new();
    for (name, options) in [
        ("a", vec!["--no-cache"]),
        ("b", vec!["--no-cache", "--batch-tokens", "1"]),
        ("c", vec!["--batch-tokens", "37"]),
        ("d", vec![]),
    ] {
        let out = context.path(name);
        let run = eval(&context, &out, tasks, &options);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        if name == "d" {
            assert!(run.stderr.contains("scoring 0 requests"), "everything was remembered: {}", run.stderr);
        }
        all.push(read(&out).1);
    }
    for other in &all[1..] {
        assert_eq!(&all[0], other);
    }
}

#[test]
fn a_label_protocol_reads_what_the_model_writes() {
    let context = Context::new();
    let task = context.write(
        "tone.yml",
        "task: tone\ninclude: INCLUDE\nmetadata:\n  version: 1\n  protocols: [choice-ll, strict-gen]\n  metrics: [f1_weighted, missing]\n"
            .replace("INCLUDE", &fixture("tasks/prompts/_base.yaml").display().to_string())
            .as_str(),
    );
    let out = context.path("out");
    let run = eval(&context, &out, task.to_str().unwrap(), &["--protocol", "choice-ll,pixiu-gen,strict-gen"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let (results, samples) = read(&out);
    let tone = results["results"]["tone"].as_object().unwrap();
    for key in
        ["acc,choice-ll", "f1_weighted,choice-ll", "acc,pixiu-gen", "f1_weighted,strict-gen", "missing,strict-gen"]
    {
        assert!(tone.get(key).is_some_and(Value::is_number), "{key} of {tone:?}");
    }
    let slots: std::collections::BTreeSet<&str> =
        samples["tone"].iter().map(|line| line["filter"].as_str().unwrap()).collect();
    assert_eq!(slots.into_iter().collect::<Vec<_>>(), ["choice-ll", "pixiu-gen", "strict-gen"]);
}

#[test]
fn what_cannot_be_run_is_said_before_the_model_is_asked() {
    let context = Context::new();
    let out = context.path("out");
    for (tasks, options, message) in [
        ("t_plainn", vec![], "t_plain"),
        ("t_plain", vec!["--protocol", "guess"], "unknown protocol `guess`"),
        ("t_plain", vec!["--adapter", "nowhere"], "nowhere"),
        ("t_plain", vec!["--backend", "openai"], "--base-url"),
        ("t_plain", vec!["--apply-chat-template=missing"], "missing"),
    ] {
        let run = eval(&context, &out, tasks, &options);
        assert!(matches!(run.code, Some(1 | 2)), "{options:?}: {:?} {}", run.code, run.stderr);
        assert!(run.stderr.contains(message), "{options:?}: {}", run.stderr);
        assert!(!run.stderr.contains("scoring"), "{options:?}: {}", run.stderr);
    }
    assert!(!out.exists());
}
