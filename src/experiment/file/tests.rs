//! Tests of experiment files and of the messages about their faults.

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
    all.map(|candidate| (candidate.name.clone(), candidate.written.clone())).collect()
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
    assert_eq!(experiment.evaluation.prompts.chat_template.as_deref(), Some(""));
    // The default rule of `billon gate`, for every task.
    assert_eq!(experiment.gate.only, [""; 0]);
    let default = crate::eval::gate::GateConfig::default();
    for role in ["seen", "unseen", "general"] {
        assert_eq!(experiment.gate.rules("finarg_auc", Some(role)), default.rules("finarg_auc", Some(role)));
    }
}

#[test]
fn gate_limits_of_an_experiment_are_checked_before_anything_runs() {
    let head = "base_model: b\nspecialists: {a: [fpb], c: [fomc]}\nevaluation: {metric: acc}\ngate:\n";
    for (gate, parts) in [
        ("  default: {max_drop: 5}\n", &["e.yml:5:23", "from 0 to 1", "5 % is written 0.05"][..]),
        ("  default: {max_drop_rel: 5}\n", &["e.yml:5:27", "from 0 to 1", "5 % is written 0.05"]),
        ("  default:\n    min: 70\n", &["e.yml:6:10", "from 0 to 1", "70 % is written 0.7"]),
        ("  default: {max_drop: -0.1}\n", &["e.yml:5:23", "0 or more", "without a sign: 0.1"]),
        ("  alpha: 5\n", &["e.yml:5:10", "0.001 to below 0.5", "5 % is written 0.05"]),
        ("  tasks: {fbp: {max_drop: 0.1}}\n", &["e.yml:5:11", "unknown task `fbp`", "did you mean `fpb`?"]),
        ("  roles: {general: {min: 0.2}}\n", &["e.yml:5:11", "role `general` has rules, but no task"]),
        ("  groups: {g: {role: general, max_drop: 0.1}}\n", &["e.yml:5:12", "group `g` is of role `general`"]),
        ("  groups: {g: {tasks: [fpb, fomc], max_drop: 3}}\n", &["e.yml:5:46", "3 % is written 0.03"]),
    ] {
        let error = parse(&format!("{head}{gate}")).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part} is not in:\n{error}");
        }
    }
    // Every specialist has the other's task as an unseen one, so that role may have rules.
    parse(&format!("{head}  roles: {{unseen: {{max_drop: 0.1}}}}\n")).unwrap();
}

#[test]
fn what_is_unseen_depends_on_what_a_row_was_trained_on() {
    use crate::experiment::row::Row;
    use crate::experiment::row_gate::role;
    use crate::experiment::training_tasks::Training;
    let text = "base_model: b\nspecialists:\n  a: [fpb]\n  c: [fomc]\n  z: {adapter: some/dir}\nmerges: {m: {linear: {weight: 1}, \
                specialists: [a, c]}}\nevaluation: {seen: [fpb, fomc], unseen: [finarg_auc], general: [gsm8k]}\n";
    let experiment = parse(text).unwrap();
    let roles = |row: Row| -> Vec<String> {
        let training = Training::new(&experiment.evaluation, &experiment.specialists).unwrap();
        let trained = training.of_row(&row, &experiment.merges);
        [("fpb", "seen"), ("fomc", "seen"), ("finarg_auc", "unseen"), ("gsm8k", "general")]
            .map(|(task, stated)| role(task, stated, &trained))
            .to_vec()
    };
    assert_eq!(roles(Row::Specialist("a".into())), ["seen", "unseen", "unseen", "general"]);
    assert_eq!(roles(Row::Specialist("c".into())), ["unseen", "seen", "unseen", "general"]);
    let merged = Row::Merge { merge: "m".into(), candidate: Some(0) };
    assert_eq!(roles(merged), ["seen", "seen", "unseen", "general"]);
    // An adapter that names no task may have learnt any of those that the experiment calls seen.
    assert_eq!(roles(Row::Specialist("z".into())), ["seen", "seen", "unseen", "general"]);
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
        "`limit` must be a whole number",
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
        ("base_model: b\nspecialists: {x: [fpb]}\nmerges: {w: {merge_method: ties, modles: []}}", "e.yml:3:34"),
        ("base_model: b\nspecialists: {x: [fpb]}\nmerges: {linear: {weight: 1, dtype: bf16}}", "unknown dtype `bf16`"),
        ("base_model: b\ntraining: {output_dir: x}\nspecialists: {x: [fpb]}", "the experiment sets it"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
}

/// What the user wrote is quoted where they wrote it, and what the experiment adds is quoted nowhere.
#[test]
fn faults_of_training_settings_are_shown_in_the_experiment_file() {
    use crate::experiment::schema::Origin;
    let fault = |text: &str| {
        let experiment = parse(text).unwrap();
        let Origin::Trained { recipe, .. } = &experiment.specialists["x"].origin else { panic!("{text}") };
        crate::experiment::training::recipe(recipe, &experiment).unwrap_err().to_string()
    };
    let shared = fault("base_model: b\ntraining: {lerning_rate: 1e-4}\nspecialists: {x: [fpb]}\n");
    assert!(shared.contains("e.yml:2:12") && shared.contains("`learning_rate`?"), "{shared}");
    let own = fault("base_model: b\ntraining: {lora_r: 8}\nspecialists:\n  x: {tasks: [fpb], lora_r: -8}\n");
    assert!(own.contains("e.yml:4:29"), "{own}");
    let made = fault("base_model: b\ntraining: {model_name_or_path: c}\nspecialists: {x: [fpb]}\n");
    assert!(!made.contains(":0:"), "{made}");
}
