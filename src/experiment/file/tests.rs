//! What experiment files may say, and what is said of faults in them.

use std::path::Path;

use serde_json::{Value, json};

use crate::experiment::schema::Experiment;

fn parse(text: &str) -> crate::Result<Experiment> {
    super::parse(Path::new("e.yml"), text)
}

fn recipes(merges: &str) -> Vec<(String, Value)> {
    let text = format!("base_model: b\nspecialists: {{a: [fpb], c: [fomc], m: [fpb, fomc]}}\nmerges:\n{merges}");
    let experiment = parse(&text).unwrap();
    let all = experiment.merges.values().flat_map(|merge| &merge.candidates);
    all.map(|candidate| (candidate.name.clone(), candidate.recipe.clone())).collect()
}

#[test]
fn short_forms_stand_for_recipes() {
    let found =
        recipes("  task_arithmetic: {weight: 0.25}\n  l: {linear: {weight: 1}, specialists: [m, a], dtype: float32}\n");
    let model =
        |name: &str, weight: Value| json!({"model": format!("$specialist:{name}"), "parameters": {"weight": weight}});
    let arithmetic = json!({
        "merge_method": "task_arithmetic", "base_model": "$base",
        "models": [model("a", json!(0.25)), model("c", json!(0.25))],
    });
    let linear =
        json!({"merge_method": "linear", "models": [model("m", json!(1)), model("a", json!(1))], "dtype": "float32"});
    assert_eq!(found, [("task_arithmetic".to_owned(), arithmetic), ("l".to_owned(), linear)]);
    let swept = recipes("  t: {ties: {weight: [0.5, 1.0], density: [0.2, 0.4], normalize: false}}\n");
    let names: Vec<&str> = swept.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "t-weight=0.5,density=0.2",
            "t-weight=0.5,density=0.4",
            "t-weight=1.0,density=0.2",
            "t-weight=1.0,density=0.4"
        ]
    );
    assert_eq!(swept[1].1["parameters"], json!({"normalize": false}));
    let whole = recipes(
        "  w:\n    merge_method: slerp\n    models: [{model: a}]\n    parameters: {t: [0, 1]}\n    base_model: base\n",
    );
    assert_eq!(whole[0].1["base_model"], "$base");
    assert_eq!(whole[0].1["models"][0]["model"], "$specialist:a");
}

#[test]
fn specialists_inherit_and_override_the_shared_settings() {
    let text = "base_model: b\ntraining: {r: 32, optimiser: {a: 1, b: 2}}\nspecialists:\n  x: {tasks: [fpb], max_rows: 10, \
                r: 8, optimiser: {b: 3}}\n  y: {datasets: [{path: g.jsonl, share: 0.25}], tasks: [fomc]}\n  z: {adapter: some/dir, \
                tasks: [fpb]}\nevaluation: {unseen: [finarg_auc], general: fiqa_sa, apply_chat_template: true}\n";
    let experiment = parse(text).unwrap();
    let debug = format!("{:?}", experiment.specialists["x"]);
    assert!(debug.contains("\"max_rows\": Number(10)") && debug.contains("\"r\": Number(8)"), "{debug}");
    assert!(debug.contains("\"a\": Number(1), \"b\": Number(3)"), "{debug}");
    assert_eq!(experiment.specialists["y"].learns, ["fomc", "g"]);
    assert_eq!(experiment.evaluation.seen, ["fpb", "fomc"]);
    assert_eq!(experiment.evaluation.chat_template.as_deref(), Some(""));
    assert_eq!(experiment.gate.only, ["finarg_auc"]);
    assert_eq!(experiment.gate.rules("finarg_auc", Some("unseen")).max_drop, Some(0.05));
}

#[test]
fn every_fault_is_said_with_its_place() {
    let text = "base_modle: b\nspecialists:\n  a: {tasks: [fpb]}\n  a b: []\n  base: {adapter: x, r: 1}\nmerges:\n  \
                a: {ties: {weigth: 1}}\n  s: {slerp: {t: 0.5}, specialists: [a, q]}\n  d: {dare_tise: {}}\n  \
                t: {task_arithmetic: {weight: 0.1}, select: validation, kep: true}\nevaluation:\n  unseen: [fpb]\n  \
                general: [x, x]\n  limit: -1\n  protocol: choice\n";
    let error = parse(text).unwrap_err().to_string();
    for part in [
        "unknown key `base_modle`",
        "`base_model`?",
        "`base_model` is missing",
        "specialist `a b` learns nothing",
        "`base` is the name of the base model's row",
        "so there is nothing to train",
        "unknown parameter `weigth`",
        "`ties` needs `weight`",
        "unknown specialist `q`",
        "`slerp` takes 1 specialists, not 2",
        "unknown merge method `dare_tise`",
        "did you mean `dare_ties`?",
        "`select` needs several values",
        "unknown key `kep`",
        "is called unseen, and a specialist learns it",
        "task `x` is listed twice",
        "`limit` is a whole number",
        "unknown protocol `choice`",
        "e.yml:7:14",
    ] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
    for (text, part) in [
        ("", "the experiment is empty"),
        ("a: 1\n---\nb: 1", "holds one document"),
        ("base_model: b", "there is nothing to evaluate"),
        (
            "base_model: b\nspecialists: {x: [fpb]}\nmerges: {x: {task_arithmetic: {weight: 1}}}",
            "of a specialist and of a merge",
        ),
        ("base_model: b\nspecialists: {x: [fpb]}\ngate: {baseline: x}", "has its own baseline"),
        ("base_model: b\nspecialists: {x: [fpb]}\nmerges: {w: {merge_method: ties, modles: []}}", "`models`?"),
        ("base_model: b\ntraining: {output_dir: x}\nspecialists: {x: [fpb]}", "the experiment sets it"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
}
