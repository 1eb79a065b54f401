//! Metrics and filters against the numbers of scikit-learn, seqeval and the harness.

use serde_json::{Map, Value};

use super::choice::Choices;
use super::entity::{entity_counts, tags_from_lines, tags_from_pairs};
use super::text::ExactMatch;
use super::{DocumentValue, Statistic, Tally};
use crate::eval::filter::{FilterError, Pipeline};
use crate::eval::interval::estimate;
use crate::eval::language_model::Score;
use crate::eval::outcome::Outcome;
use crate::eval::protocol::Protocol;
use crate::eval::scoring::{Scorer, TaskScores};
use crate::stats::resample::Resampling;
use crate::task::spec::{FilterPipeline, FilterStep, MetricSpec};

fn score_task(
    metrics: &[MetricSpec],
    protocol: Option<Protocol>,
    outcomes: &[Outcome],
    docs: &[Value],
) -> crate::Result<TaskScores> {
    Scorer::new(metrics, &[], protocol)?.score(outcomes, docs, Resampling::seeded(0))
}

fn numbers(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/metrics").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list<T>(value: &Value, item: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap().iter().map(item).collect()
}

fn texts(value: &Value) -> Vec<String> {
    list(value, |text| text.as_str().unwrap().to_owned())
}

fn near(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-12, "{what}: {found}, not {expected}");
}

fn spec(name: &str) -> MetricSpec {
    MetricSpec { name: name.to_owned(), aggregation: None, higher_is_better: None, arguments: Map::new() }
}

#[test]
fn label_metrics_are_scikit_learns() {
    let cases = numbers("metrics.json");
    let cases = cases["labels"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let gold = list(&case["gold"], |label| label.as_i64().unwrap() as i32);
        let predicted = list(&case["predicted"], |label| label.as_i64().unwrap() as i32);
        let values: Vec<_> =
            gold.iter().zip(&predicted).map(|(&gold, &predicted)| DocumentValue::Labels { gold, predicted }).collect();
        for (key, statistic) in [
            ("f1", Statistic::F1),
            ("f1_weighted", Statistic::F1Weighted),
            ("f1_macro", Statistic::F1Macro),
            ("f1_micro", Statistic::F1Micro),
            ("mcc", Statistic::Mcc),
            ("mcc_pixiu", Statistic::MccPixiu),
        ] {
            if let Some(expected) = case.get(key) {
                near(Tally::new(statistic, &values).value(), expected, &format!("{key} of {}", case["name"]));
            }
        }
    }
}

#[test]
fn averaged_f1_is_the_mean_over_question_types() {
    let case = &numbers("metrics.json")["questions"];
    let values = list(&case["items"], |item| DocumentValue::from_json(Statistic::AverageF1, item).unwrap());
    near(Tally::new(Statistic::AverageF1, &values).value(), &case["avg_f1"], "avg_f1");
}

#[test]
fn entities_are_seqevals() {
    let case = &numbers("metrics.json")["entities"];
    let (gold, predicted) = (list(&case["gold"], texts), list(&case["predicted"], texts));
    let values: Vec<_> = gold.iter().zip(&predicted).map(|(gold, predicted)| entity_counts(predicted, gold)).collect();
    near(Tally::new(Statistic::EntityF1, &values).value(), &case["entity_f1"], "entity_f1");
}

#[test]
fn answers_are_projected_onto_words_as_pixiu_does() {
    let tags = tags_from_pairs("Acme Corp, ORG\nJane, PER\nnonsense\n, LOC", "Jane left Acme Corp and Jane");
    // The last word is out of reach: nothing follows it.
    assert_eq!(tags, ["B-PER", "O", "B-ORG", "I-ORG", "O", "O"]);
    let tokens: Vec<String> = ["Jane", "left", "Acme"].map(str::to_owned).into();
    let known = ["B-PER", "B-ORG", "O"].map(str::to_owned).into();
    let tags = tags_from_lines("Jane:B-PER\nleft:B-PER:O\nAcme:B-XYZ\nmore:O", &tokens, &known);
    assert_eq!(tags, ["B-PER", "O", "O"]);
}

#[test]
fn choice_metrics_are_the_harnesss() {
    let case = &numbers("metrics.json")["choices"];
    let mut values = (Vec::new(), Vec::new());
    for document in case["documents"].as_array().unwrap() {
        let scores = list(&document["logprobs"], |x| Score { logprob: x.as_f64().unwrap(), is_greedy: false });
        let texts = vec!["x".to_owned(); 3];
        let gold = [document["gold"].as_u64().unwrap() as usize];
        let choices = Choices { texts: &texts, gold: &gold, scores: &scores, unconditional: None };
        values.0.push(choices.acc());
        values.1.push(choices.brier_score());
    }
    let acc = estimate(&Tally::new(Statistic::Mean, &values.0), Resampling::seeded(0), &[]);
    near(acc.value, &case["acc"], "acc");
    near(acc.standard_error.unwrap(), &case["acc_stderr"], "acc_stderr");
    near(Tally::new(Statistic::Brier, &values.1).value(), &case["brier_score"], "brier_score");
}

#[test]
fn exact_match_has_the_harnesss_options() {
    let cases = numbers("metrics.json");
    for case in cases["exact_match"].as_array().unwrap() {
        let options = case["options"].as_object().unwrap();
        let found =
            ExactMatch::new(options).unwrap().matches(case["response"].as_str().unwrap(), &texts(&case["references"]));
        let found = found.unwrap();
        assert_eq!(found, case["right"].as_bool().unwrap(), "{case}");
    }
}

fn pipeline(steps: &Value) -> Result<Pipeline, FilterError> {
    let steps = list(steps, |step| {
        let mut arguments = step.as_object().unwrap().clone();
        let function = arguments.remove("function").unwrap().as_str().unwrap().to_owned();
        FilterStep { function, arguments }
    });
    Pipeline::new(&FilterPipeline { name: "test".to_owned(), steps })
}

#[test]
fn filters_are_the_harnesss() {
    let data = numbers("filters.json");
    let choices = texts(&data["choices"]);
    let cases = data["cases"].as_array().unwrap();
    assert!(cases.len() > 150, "{}", cases.len());
    for case in cases {
        let found = pipeline(&case["steps"]).unwrap().apply(0, &texts(&case["responses"]), &choices).unwrap();
        assert_eq!(found.to_json(), case["expected"], "{case}");
    }
}

#[test]
fn wrong_filters_and_metrics_are_refused_with_the_nearest_name() {
    let refused = |steps: &str| pipeline(&serde_json::from_str(steps).unwrap()).unwrap_err();
    for (steps, message, hint) in [
        (r#"[{"function": "take_frist"}]"#, "unknown function `take_frist`", "`take_first`"),
        (r#"[{"function": "regex", "regex_patern": "x"}]"#, "no argument `regex_patern`", "`regex_pattern`"),
        (r#"[{"function": "regex", "regex_pattern": "x)"}]"#, "unbalanced parenthesis", ""),
        (r#"[{"function": "format_span"}]"#, "not supported", ""),
        (r#"[{"function": "take_first"}, {"function": "lowercase"}]"#, "single response", "last"),
        (r#"[{"function": "take_first_k"}]"#, "`k`", ""),
    ] {
        let error = crate::Error::from(refused(steps));
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hints().join(" ").contains(hint), "{:?}", error.hints());
    }
    for (name, key, hint) in [("acc_nrom", None, "`acc_norm`"), ("exact_match", Some("ignore_cases"), "`ignore_case`")]
    {
        let mut spec = spec(name);
        if let Some(key) = key {
            spec.arguments.insert(key.to_owned(), Value::Bool(true));
        }
        let error = Scorer::new(&[spec], &[], None).unwrap_err();
        assert!(error.hints().join(" ").contains(hint), "{error}: {:?}", error.hints());
    }
}

/// One written-answer task under both generative protocols, with everything that can go wrong.
#[test]
fn a_task_of_written_answers_is_scored_by_protocol() {
    let choices: Vec<String> = ["positive", "negative", "neutral"].map(str::to_owned).into();
    let outcome = |reference: &str, response: &str| Outcome::Text {
        references: vec![reference.to_owned()],
        responses: vec![response.to_owned()],
        choices: choices.clone(),
        doc: Value::Null,
    };
    let outcomes = [
        outcome("positive", "Positive."),
        outcome("negative", "negative or neutral"),
        outcome("neutral", "no idea"),
        outcome("Neutral", "neutrally put"),
    ];
    let docs = vec![Value::Null; 4];
    let metrics = ["acc", "acc_norm", "missing_rate", "f1_weighted", "mcc"].map(spec);
    let pixiu = Protocol::named("pixiu-gen");
    let scores = score_task(&metrics, pixiu, &outcomes, &docs).unwrap();
    let keys: Vec<String> = scores.metrics.iter().map(crate::eval::scoring::MetricScore::key).collect();
    assert_eq!(keys, ["acc,pixiu-gen", "missing_rate,pixiu-gen", "f1_weighted,pixiu-gen", "mcc,pixiu-gen"]);
    assert!(scores.warnings.keys().any(|text| text.contains("`acc_norm`")), "{:?}", scores.warnings);
    let value = |index: usize| scores.metrics[index].estimate.value;
    assert_eq!((value(0), value(1)), (0.75, 0.25));
    // positive 1, negative 1, neutral 2/3 at half the weight.
    assert!((value(2) - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
    let strict = score_task(&metrics, Protocol::named("strict-gen"), &outcomes, &docs).unwrap();
    assert_eq!(strict.metrics[0].estimate.value, 0.25);
    let labels: Vec<_> = strict.slots[0].documents.iter().map(|d| d.predicted).collect();
    assert_eq!(labels, [Some(0), None, None, None]);
    assert!(score_task(&metrics, None, &outcomes, &docs).unwrap_err().to_string().contains("label protocol"));
}
