//! Mistakes in a recipe: all at once, with their place and the name that was probably meant; nothing is written.

use crate::context::{Context, Run};

/// Merges a recipe that must be refused.
fn refused(context: &Context, text: &str) -> Run {
    let recipe = context.write("r.yml", text);
    let run = context.merge_run(&recipe, &context.path("out"), &[]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stdout.is_empty() && !context.path("out").exists() && context.leftovers().is_empty());
    run
}

fn contains_all(run: &Run, parts: &[&str]) {
    for part in parts {
        assert!(run.stderr.contains(part), "{part:?} is not in:\n{}", run.stderr);
    }
}

#[test]
fn every_mistake_is_reported_at_once_with_place_and_advice() {
    let context = Context::new();
    let run = refused(
        &context,
        "merge_method: ties\nbase_model: fixtures/checkpoints/f32/base\ndtyp: float32\nmodels:\n\
         - model: fixtures/checkpoints/f32/ft1\n  parameters:\n    weight: 1.0\n    densty: 0.5\n\
         - model: fixtures/checkpoints/f32/ft9\n  parameters: {weight: heavy}\n",
    );
    contains_all(
        &run,
        &[
            "4 problems",
            "unknown key `dtyp`",
            "r.yml:3:1",
            "3 | dtyp: float32",
            "did you mean `dtype`?",
            "unknown parameter `densty`",
            "r.yml:8:5",
            "8 |     densty: 0.5",
            "did you mean `density`?",
            "fixtures/checkpoints/f32/ft9",
            "r.yml:9:10",
            "`weight` expects a number, not `heavy`",
            "r.yml:10:24",
        ],
    );
}

#[test]
fn mistakes_that_only_the_models_show_are_reported_at_once() {
    let context = Context::new();
    let run = refused(
        &context,
        "merge_method: ties\nbase_model: fixtures/checkpoints/f32/base\nmodels:\n\
         - model: fixtures/checkpoints/f32/ft1\n\
         - model: fixtures/checkpoints/f32/ft2\n  parameters:\n    weight: 1.0\n    density:\n\
         \x20   - filter: slef_attn\n      value: 0.5\n    - value: 1.0\n",
    );
    contains_all(
        &run,
        &[
            "2 problems",
            "needs parameter `weight` for model `fixtures/checkpoints/f32/ft1`",
            "r.yml:4:10",
            "filter `slef_attn` matches no tensor",
            "r.yml:9:15",
            "did you mean `self_attn`?",
        ],
    );
}

#[test]
fn unknown_methods_and_impossible_layers_are_named() {
    let context = Context::new();
    let slices = |method: &str, range: &str| {
        format!(
            "merge_method: {method}\nslices:\n- sources:\n  - model: fixtures/checkpoints/f32/ft1\n    \
             layer_range: {range}\n"
        )
    };
    contains_all(&refused(&context, &slices("passthru", "[0, 3]")), &["r.yml:1:15", "did you mean `passthrough`?"]);
    contains_all(&refused(&context, &slices("model_stock", "[0, 3]")), &["`model_stock`", "not part of this version"]);
    for range in ["[0, 4]", "[-1, 2]", "[2, 1]", "[0, -1]"] {
        contains_all(&refused(&context, &slices("passthrough", range)), &["r.yml:5:18", "has 3 layers"]);
    }
}

#[test]
fn lenient_runs_with_unknown_keys_but_says_so() {
    let context = Context::new();
    let text = "merge_method: passthrough\nbogus: 1\nmodels:\n- model: fixtures/checkpoints/f32/ft1\n  \
                parameters: {scal: 2}\n";
    contains_all(&refused(&context, text), &["unknown key `bogus`", "unknown parameter `scal`"]);
    let recipe = context.write("r.yml", text);
    let run = context.merge_run(&recipe, &context.path("out"), &["--lenient"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    contains_all(&run, &["unknown key `bogus`", "unknown parameter `scal`", "did you mean `scale`?"]);
}

#[test]
fn errors_are_json_when_asked_for() {
    let context = Context::new();
    let recipe = context.write("r.yml", "merge_method: linear\n");
    let run = context.merge_run(&recipe, &context.path("out"), &["--json"]);
    assert_eq!(run.code, Some(2));
    let error: serde_json::Value = serde_json::from_str(run.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((error["event"].as_str(), error["kind"].as_str()), (Some("error"), Some("usage")));
    assert!(error["message"].as_str().unwrap().contains("`models`"), "{error}");
}
