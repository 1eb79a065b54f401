//! Our results against those that the harness wrote for the same answers.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::record::{GroupMetric, GroupRecord, RunRecord, SampleRecord, TaskRecord, TaskRun};
use super::{ResultsError, RunResults, write};
use crate::eval::compare::compare;
use crate::eval::language_model::Score;
use crate::eval::outcome::Outcome;
use crate::eval::scoring::Scorer;
use crate::python::json;
use crate::stats::resample::Resampling;
use crate::task::spec::{FilterPipeline, FilterStep, MetricSpec};

const STAMP: &str = "2026-01-02T03-04-05.678901";

fn harness() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/results/harness")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Documents, requests and answers of the harness's samples, for the first filter.
fn samples(run: &RunResults, task: &str) -> Vec<SampleRecord> {
    let lines = run.samples(task).unwrap();
    let first = lines[0].slot.clone();
    let record = |line: &Map<String, Value>| {
        let arguments: Vec<(String, Value)> = line["arguments"]
            .as_object()
            .unwrap()
            .values()
            .map(|request| (text(&request["arg_0"]), request["arg_1"].clone()))
            .collect();
        let responses = line["resps"].as_array().unwrap();
        let outcome = if task == "tiny_choice" {
            let score = |request: &Value| Score {
                logprob: text(&request[0][0]).parse().unwrap(),
                is_greedy: request[0][1] == "True",
            };
            Outcome::Choice {
                choices: arguments.iter().map(|(_, choice)| text(choice)[1..].to_owned()).collect(),
                gold: vec![line["doc"]["label"].as_u64().unwrap() as usize],
                scores: responses.iter().map(score).collect(),
                unconditional: None,
            }
        } else {
            Outcome::Text {
                references: vec![text(&line["target"])],
                responses: responses[0].as_array().unwrap().iter().map(text).collect(),
                choices: Vec::new(),
                doc: line["doc"].clone(),
            }
        };
        let (doc_id, doc) = (line["doc_id"].as_u64().unwrap() as usize, line["doc"].clone());
        SampleRecord { doc_id, target: doc["label"].clone(), doc, arguments, outcome }
    };
    lines.iter().filter(|sample| sample.slot == first).map(|sample| record(&sample.line)).collect()
}

fn task(run: &RunResults, name: &str, metrics: &[&str], pipelines: &[FilterPipeline]) -> TaskRecord {
    let samples = samples(run, name);
    let spec = |name: &&str| MetricSpec {
        name: (*name).to_owned(),
        aggregation: None,
        higher_is_better: None,
        arguments: Map::new(),
    };
    let metrics: Vec<MetricSpec> = metrics.iter().map(spec).collect();
    let outcomes: Vec<Outcome> = samples.iter().map(|sample| sample.outcome.clone()).collect();
    let docs: Vec<Value> = samples.iter().map(|sample| sample.doc.clone()).collect();
    TaskRecord {
        name: name.to_owned(),
        alias: None,
        version: run.top["versions"][name].clone(),
        num_fewshot: 0,
        config: run.top["configs"][name].as_object().unwrap().clone(),
        role: None,
        documents: samples.len(),
        truncated: 1,
        warnings: std::collections::BTreeMap::new(),
        runs: vec![TaskRun {
            protocol: None,
            scores: Scorer::new(&metrics, pipelines, None)
                .unwrap()
                .score(&outcomes, &docs, Resampling::seeded(1))
                .unwrap(),
            samples,
        }],
        not_scored: Vec::new(),
        judge: None,
    }
}

fn ours(run: &RunResults) -> RunRecord {
    let step = |function: &str, arguments: &[(&str, &str)]| FilterStep {
        function: function.to_owned(),
        arguments: arguments.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect(),
    };
    let pipelines = [
        FilterPipeline { name: "raw".into(), steps: vec![step("take_first", &[])] },
        FilterPipeline {
            name: "digits".into(),
            steps: vec![step("regex", &[("regex_pattern", r"(\d+)")]), step("take_first", &[])],
        },
    ];
    RunRecord {
        model_name: "tiny/hashed".into(),
        model_source: "billon".into(),
        weights_hash: Some("0".repeat(64)),
        fewshot_seed: 1234,
        elapsed: 1.5,
        tasks: vec![
            task(run, "tiny_choice", &["acc", "acc_norm", "mcc", "brier_score"], &[]),
            task(run, "tiny_write", &["exact_match"], &pipelines),
        ],
        groups: vec![GroupRecord {
            name: "tiny".into(),
            alias: None,
            version: "N/A".into(),
            children: vec!["tiny_choice".into()],
            tasks: vec!["tiny_choice".into()],
            metrics: vec![GroupMetric { metric: "acc".into(), weight_by_size: true, slots: None }],
        }],
        ..RunRecord::default()
    }
}

/// Every key that the harness writes into a sample, every score and every hash. Set
/// `BILLON_RESULTS_OUT` to keep our files for `make_results.py --check`.
#[test]
fn the_same_answers_make_the_same_files() {
    let run = RunResults::load(&harness()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = std::env::var_os("BILLON_RESULTS_OUT").map_or_else(|| folder.path().to_path_buf(), PathBuf::from);
    let written = write(&out, &ours(&run), STAMP).unwrap();
    assert!(written.results.ends_with(format!("tiny__hashed/results_{STAMP}.json")), "{written:?}");
    let own = RunResults::load(&out).unwrap();

    assert_eq!(own.top["task_hashes"], run.top["task_hashes"]);
    for key in ["group_subtasks", "n-samples", "n-shot", "versions", "configs", "higher_is_better"] {
        assert_eq!(own.top[key], run.top[key], "{key}");
    }
    for key in run.top.keys() {
        assert!(own.top.contains_key(key), "{key}");
    }
    for task in &run.tasks {
        let (theirs, mine) = (&run.top["results"][&task.name], &own.top["results"][&task.name]);
        for (key, value) in theirs.as_object().unwrap() {
            let found = &mine[key];
            match (value.as_f64(), found.as_f64()) {
                // Theirs are bootstrapped from other draws, or not at all.
                _ if key.starts_with("mcc_stderr") || key.starts_with("brier_score_stderr") => {}
                (Some(a), Some(b)) => assert!((a - b).abs() < 1e-12, "{}: {key}: {a}, {b}", task.name),
                _ => assert_eq!(value, found, "{}: {key}", task.name),
            }
        }
        let (theirs, mine) = (run.samples(&task.name).unwrap(), own.samples(&task.name).unwrap());
        assert_eq!(theirs.len(), mine.len());
        for (a, b) in theirs.iter().zip(&mine) {
            for (key, value) in &a.line {
                match key.as_str() {
                    "metrics" => assert_eq!(value.as_array().unwrap().len(), b.line[key].as_array().unwrap().len()),
                    "brier_score" => assert_eq!(value[0], b.line[key][0]),
                    _ => assert_eq!(*value, b.line[key], "{} {}: {key}", task.name, a.doc_id),
                }
            }
        }
    }
    // And a comparison reads both: nothing differs between theirs and ours.
    let same = compare(&run, &own, &[], Some("acc"), true, Resampling::seeded(0));
    assert!(same.is_err(), "tiny_write has no acc");
    let same = compare(&run, &own, &["tiny_choice".to_owned()], None, true, Resampling::seeded(0)).unwrap();
    assert_eq!((same.tasks[0].difference, same.tasks[0].mcnemar_p), (0.0, Some(1.0)));
    compare(&run, &own, &[], Some("brier_score"), true, Resampling::seeded(0)).unwrap_err();
    compare(&run, &own, &["tiny_choice".to_owned()], Some("brier_score"), true, Resampling::seeded(0)).unwrap();
}

#[test]
fn python_spells_floats_and_texts_its_own_way() {
    for (x, expected) in [
        (1.0, "1.0"),
        (1e16, "1e+16"),
        (1e15, "1000000000000000.0"),
        (1e-4, "0.0001"),
        (1.5e-5, "1.5e-05"),
        (-2.5e-300, "-2.5e-300"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1.234_567_890_123_456_7e200, "1.2345678901234567e+200"),
    ] {
        assert_eq!(json::float(x), expected);
    }
    let value: Value =
        serde_json::from_str(r#"["it's", "a\"b'", {"k": null, "t": true}, 1, 2.0, "é\n\u200b"]"#).unwrap();
    assert_eq!(json::str(&value), r#"["it's", 'a"b\'', {'k': None, 't': True}, 1, 2.0, 'é\n\u200b']"#);
    assert_eq!(json::str(&Value::from("as is\n")), "as is\n");
}

#[test]
fn broken_results_name_file_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    assert!(matches!(RunResults::load(folder.path()), Err(ResultsError::None { .. })));
    assert!(matches!(RunResults::load(&path("absent")), Err(ResultsError::Read { .. })));
    let load = |text: &str| {
        std::fs::write(path("results_1.json"), text).unwrap();
        RunResults::load(folder.path())
    };
    for text in [
        "",
        "[]",
        "{\"results\": 3}",
        "{\"results\": {}}",
        "{\"results\": {\"a\": 1}}",
        "{\"results\": {\"a\": {\"acc,none\":",
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains("results_1.json"), "{error}");
    }
    let run = load("{\"results\": {\"a\": {\"acc,none\": 0.5, \"x,none\": NaN, \"y,none\": -Infinity}}}").unwrap();
    assert_eq!(run.tasks[0].scores, [("acc,none".to_owned(), 0.5)]);
    assert!(matches!(run.samples("a"), Err(ResultsError::NoSamples { .. })));
    std::fs::write(path("samples_a_1.jsonl"), "{\"doc_id\": 1, \"doc_hash\": \"x\"}\n").unwrap();
    let error = run.samples("a").unwrap_err().to_string();
    assert!(
        error.contains("line 1") && error.contains("samples_a_1.jsonl") && error.contains("prompt_hash"),
        "{error}"
    );
}
