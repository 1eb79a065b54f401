//! `billon compare` on files that hold scores without documents, and on the layouts of older harnesses.

use serde_json::{Value, json};

use crate::context::Context;

fn results(accuracy: f64, error: Value) -> Value {
    json!({
        "results": {"fpb": {"acc,none": accuracy, "acc_stderr,none": error, "alias": "fpb"}},
        "versions": {"fpb": 1.0}, "n-shot": {"fpb": 0}, "n-samples": {"fpb": {"original": 200, "effective": 200}},
    })
}

#[test]
fn results_without_samples_are_compared_as_plain_scores_and_get_no_verdict() {
    let context = Context::new();
    let a = context.write("a/results_2024-07-03T12-00-00.000000.json", &results(0.665, json!(0.03)).to_string());
    let b = context.write("b/results_2024-07-03T12-00-00.000000.json", &results(0.615, json!(0.04)).to_string());
    let (a, b) = (a.parent().unwrap().to_str().unwrap(), b.parent().unwrap().to_str().unwrap());
    let run = context.run(["compare", a, b]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // 1.96 * sqrt(0.03^2 + 0.04^2) = 0.0980.
    for part in ["-0.0500", "-0.1480 … +0.0480", "the baseline has no samples", "two unrelated samples"] {
        assert!(run.stdout.contains(part), "{part} is not in:\n{}", run.stdout);
    }
    let run = context.run(["compare", a, b, "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&report["tasks"][0]["paired"], &report["tasks"][0]["documents"]), (&json!(false), &json!(200)));
    let run = context.run(["gate", a, b]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    assert!(run.stderr.contains("no samples file") && run.stderr.contains("`billon compare`"), "{}", run.stderr);
    // Without errors there is no interval, and other shots are still refused.
    let none = context.write("n/results_2024-07-03T12-00-00.000000.json", &results(0.6, json!("N/A")).to_string());
    let run = context.run(["compare", a, none.to_str().unwrap()]);
    assert!(run.stdout.contains("there is no interval"), "{}{}", run.stdout, run.stderr);
    let mut shots = results(0.6, json!(0.03));
    shots["n-shot"]["fpb"] = json!(5);
    let shots = context.write("s/results_2024-07-03T12-00-00.000000.json", &shots.to_string());
    let run = context.run(["compare", a, shots.to_str().unwrap()]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("few-shot count: 0 in the baseline, 5 in the candidate"), "{}", run.stderr);
}

/// Keys without filters: lm-eval until 0.3, its forks, and lighteval.
#[test]
fn bare_metrics_are_scores_too() {
    let context = Context::new();
    let light = |accuracy: f64| {
        json!({
            "config_general": {"model_name": "x"},
            "results": {"leaderboard|arc:challenge|25": {"acc": accuracy, "acc_stderr": 0.01}, "all": {"acc": accuracy, "acc_stderr": 0.01}},
        })
    };
    let a = context.write("a/results_2024-07-03T12-00-00.000000.json", &light(0.5).to_string());
    let b = context.write("b/results_2024-07-03T12-00-00.000000.json", &light(0.52).to_string());
    let run = context.run(["compare", a.to_str().unwrap(), b.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    assert_eq!(report["tasks"].as_array().unwrap().len(), 1);
    assert!((report["tasks"][0]["difference"].as_f64().unwrap() - 0.02).abs() < 1e-12);
    let half = 1.959_963_985 * 0.01 * 2.0_f64.sqrt();
    assert!((report["tasks"][0]["interval"][1].as_f64().unwrap() - 0.02 - half).abs() < 1e-9);
}

/// `results.json` and `pretrained__x_TASK.jsonl`, an array without hashes.
#[test]
fn results_of_lm_eval_0_4_0_are_found_and_paired() {
    let context = Context::new();
    let write = |folder: &str, right: usize| {
        let sample = |task: &str, index: usize| {
            let scores = if index < right { [-1.0, -2.0] } else { [-3.0, -2.0] };
            json!({
                "doc_id": index, "doc": {"query": format!("q{index} é"), "gold": 0}, "target": "0",
                "arguments": [[format!("{task} q{index}"), " x"], [format!("{task} q{index}"), " y"]],
                "resps": [[[scores[0], false]], [[scores[1], false]]],
                "filtered_resps": [[scores[0], false], [scores[1], false]],
                "acc": if index < right { 1.0 } else { 0.0 },
            })
        };
        let mut top = json!({"results": {}, "versions": {"fpb": 1.0, "a_fpb": 0}, "n-shot": {"fpb": 0, "a_fpb": 0}});
        for task in ["fpb", "a_fpb"] {
            let list: Vec<Value> = (0..100).map(|index| sample(task, index)).collect();
            context
                .write(&format!("{folder}/pretrained__x_{task}.jsonl"), &serde_json::to_string_pretty(&list).unwrap());
            top["results"][task] = json!({"acc,none": right as f64 / 100.0, "acc_stderr,none": 0.03, "alias": task});
        }
        context.write(&format!("{folder}/results.json"), &top.to_string())
    };
    let (a, b) = (write("a", 80), write("b", 60));
    for (a, b) in [(a.as_path(), b.as_path()), (a.parent().unwrap(), b.parent().unwrap())] {
        let run = context.run(["compare", a.to_str().unwrap(), b.to_str().unwrap(), "--json"]);
        let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
        for task in [0, 1] {
            assert_eq!((&report["tasks"][task]["paired"], &report["tasks"][task]["lost"]), (&json!(true), &json!(20)));
        }
    }
    let run = context.run(["gate", a.to_str().unwrap(), b.to_str().unwrap()]);
    assert_eq!(run.code, Some(100), "{}", run.stderr);
    // A document without what the hashes are made of.
    let text = std::fs::read_to_string(context.path("b/pretrained__x_fpb.jsonl")).unwrap();
    context.write("b/pretrained__x_fpb.jsonl", &text.replacen("\"arguments\"", "\"argument\"", 1));
    let run = context.run(["gate", a.to_str().unwrap(), b.to_str().unwrap()]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("entry 1 of") && run.stderr.contains("prompt_hash"), "{}", run.stderr);
}
