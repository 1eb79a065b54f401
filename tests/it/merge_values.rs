//! Numbers of a recipe that have no meaning are refused before anything is written, and no merge makes infinities of
//! finite inputs.

use safetensors::Dtype;

use crate::checkpoint::{self, Stored, Tensors};
use crate::context::{Context, Run, fixture};

/// A model of two tensors with the given values.
fn model(context: &Context, name: &str, dtype: Dtype, values: [f64; 4]) -> String {
    let tensors: Tensors = [
        ("a.weight".to_owned(), Stored::new(dtype, &[2, 2], &values)),
        ("b.weight".to_owned(), Stored::new(dtype, &[4], &values)),
    ]
    .into();
    let directory = context.path(name);
    checkpoint::write(&directory, &tensors, None);
    directory.display().to_string()
}

/// Merges models with a method; each has parameters in flow style.
fn merged(context: &Context, head: &str, models: &[(&str, &str)], options: &[&str]) -> Run {
    let mut recipe = format!("{head}\nmodels:\n");
    for (model, parameters) in models {
        recipe += &format!("- {{model: {model:?}, parameters: {{{parameters}}}}}\n");
    }
    let recipe = context.write("r.yml", &recipe);
    context.merge_run(&recipe, &context.path("out"), options)
}

fn refused(run: &Run, code: i32, parts: &[&str]) {
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    for part in parts {
        assert!(run.stderr.contains(part), "{part:?} is not in:\n{}", run.stderr);
    }
}

#[test]
fn linear_weights_that_nearly_cancel_are_refused() {
    let context = Context::new();
    let one = model(&context, "one", Dtype::F32, [1.0, 2.0, 3.0, 4.0]);
    let two = model(&context, "two", Dtype::F32, [4.0, 3.0, 2.0, 1.0]);
    let three = model(&context, "three", Dtype::F32, [1.0, 1.0, 1.0, 1.0]);
    let weights = |a: &str, b: &str, c: &str| {
        let all = [(&*one, format!("weight: {a}")), (&*two, format!("weight: {b}")), (&*three, format!("weight: {c}"))];
        all.map(|(model, weight)| (model.to_owned(), weight))
    };
    let run = |head: &str, [a, b, c]: [&str; 3]| {
        let models = weights(a, b, c);
        let models: Vec<(&str, &str)> = models.iter().map(|(m, w)| (&**m, &**w)).collect();
        merged(&context, head, &models, &["--force", "--no-hash"])
    };
    let base = format!("base_model: {:?}", model(&context, "base", Dtype::F32, [0.5, 0.5, 0.5, 0.5]));
    for head in [
        "merge_method: linear".to_owned(),
        format!("merge_method: task_arithmetic\n{base}\nparameters: {{normalize: true}}"),
        format!("merge_method: dare_linear\n{base}\nparameters: {{normalize: true}}"),
        format!("merge_method: ties\n{base}"),
        format!("merge_method: dare_ties\n{base}\nparameters: {{normalize: true}}"),
    ] {
        for cancelling in [["0.1", "0.2", "-0.3"], ["1", "-1", "0"], ["1e-9", "1e-9", "-2e-9"], ["1", "-0.9999", "0"]] {
            refused(&run(&head, cancelling), 2, &["sum", "0.001", "a.weight", "normalize"]);
            assert!(!context.path("out").exists(), "{head}");
        }
    }
    // Weights as small, of one sign, are a mean like any other: (1 * 1 + 2 * 4 + 1 * 1) / 4 and so on.
    let good = run("merge_method: linear", ["1e-9", "2e-9", "1e-9"]);
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    let out = checkpoint::read(&context.path("out"))["a.weight"].values();
    for (found, exact) in out.iter().zip([2.5, 2.25, 2.0, 1.75]) {
        assert!((found - exact).abs() < 1e-6, "{found} {exact}");
    }
}

#[test]
fn shares_outside_nought_to_one_are_refused_with_the_slip_guessed() {
    let context = Context::new();
    let base = model(&context, "base", Dtype::F32, [0.5, 0.5, 0.5, 0.5]);
    let one = model(&context, "one", Dtype::F32, [1.0, 2.0, 3.0, 4.0]);
    let head = |method: &str| format!("merge_method: {method}\nbase_model: {base:?}");
    for method in ["ties", "dare_ties", "dare_linear", "task_arithmetic"] {
        let run = merged(&context, &head(method), &[(&one, "weight: 1, density: 50")], &[]);
        refused(&run, 2, &["`density` expects a number from 0 to 1, not `50`", "50 % is written 0.5", "r.yml:4:"]);
        let run = merged(&context, &head(method), &[(&one, "weight: 1, density: -0.5")], &[]);
        refused(&run, 2, &["`density` expects a number from 0 to 1, not `-0.5`"]);
    }
    for t in ["1.5", "-0.1", "[0, 30]"] {
        let run = merged(&context, &format!("{}\nparameters: {{t: {t}}}", head("slerp")), &[(&one, "")], &[]);
        refused(&run, 2, &["`t` expects a number from 0 to 1"]);
    }
    let two = model(&context, "two", Dtype::F32, [4.0, 3.0, 2.0, 1.0]);
    let run = merged(&context, "merge_method: nuslerp", &[(&one, "weight: -0.5"), (&two, "weight: 1.5")], &[]);
    refused(&run, 2, &["share of 1.5", "outside 0 to 1"]);
    let run = merged(&context, "merge_method: nuslerp", &[(&one, "weight: 0.3"), (&two, "weight: -0.3")], &[]);
    refused(&run, 2, &["0.3 and -0.3 sum to 0"]);
}

#[test]
fn infinities_that_no_input_has_are_not_published_unless_allowed() {
    let context = Context::new();
    let one = model(&context, "one", Dtype::F32, [1e30, 2.0, f64::INFINITY, 4.0]);
    let run = merged(&context, "merge_method: passthrough\nout_dtype: float16", &[(&one, "")], &["-q"]);
    refused(&run, 1, &["`a.weight` at 1 elements", "`b.weight` at 1 elements", "--allow-non-finite"]);
    assert!(!context.path("out").exists() && context.leftovers().is_empty());
    // Quiet as well: what is published against the rule is told, and how much of it the inputs had.
    let options = ["-q", "--allow-non-finite"];
    let run = merged(&context, "merge_method: passthrough\nout_dtype: float16", &[(&one, "")], &options);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("has 2 infinite or NaN elements; no input has one at 1"), "{}", run.stderr);
    assert!(checkpoint::read(&context.path("out"))["a.weight"].values()[0].is_infinite());
    let run = merged(&context, "merge_method: passthrough", &[(&one, "")], &["-q", "--force"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("has 1 infinite or NaN elements, as its inputs have there"), "{}", run.stderr);
    // An overflow of the arithmetic, not of the dtype.
    let huge = model(&context, "huge", Dtype::F32, [3e38, 1.0, 1.0, 1.0]);
    let base = model(&context, "base", Dtype::F32, [0.0, 0.0, 0.0, 0.0]);
    let head = format!("merge_method: task_arithmetic\nbase_model: {base:?}");
    refused(&merged(&context, &head, &[(&huge, "weight: 2")], &["--force"]), 1, &["where no input has any"]);
}

#[test]
fn a_nan_of_one_input_that_spreads_over_a_tensor_is_not_published() {
    // The angle between vectors with a NaN is NaN, and so would be every element.
    let context = Context::new();
    let base = model(&context, "base", Dtype::F32, [1.0, 2.0, 3.0, 5.0]);
    let one = model(&context, "one", Dtype::F32, [f64::NAN, 2.0, 1.0, 4.0]);
    let head = format!("merge_method: slerp\nbase_model: {base:?}\nparameters: {{t: 0.5}}");
    refused(&merged(&context, &head, &[(&one, "")], &[]), 1, &["`a.weight` at 3 elements"]);
}

#[test]
fn what_only_the_base_has_is_kept_by_one_word() {
    let context = Context::new();
    let write = |name: &str, layers: usize, number: f64, extra: bool| {
        let tensor = |values: f64| Stored::new(Dtype::F32, &[2], &[values, values + 0.5]);
        let mut tensors: Tensors = (0..layers)
            .map(|layer| (format!("model.layers.{layer}.mlp.up_proj.weight"), tensor(number + layer as f64)))
            .collect();
        tensors.insert("model.embed_tokens.weight".to_owned(), tensor(number));
        tensors.insert("model.norm.weight".to_owned(), tensor(number * 2.0));
        if extra {
            tensors.insert("model.layers.0.mlp.gate.weight".to_owned(), tensor(99.0));
        }
        let config = format!("{{\"num_hidden_layers\": {layers}, \"torch_dtype\": \"float32\"}}\n");
        checkpoint::write(&context.path(name), &tensors, Some(&config));
        context.path(name).display().to_string()
    };
    let (base, one) = (write("base", 3, 1.0, true), write("one", 2, 3.0, false));
    let head = format!("merge_method: task_arithmetic\nbase_model: {base:?}");
    let models = [(&*one, "weight: 0.5")];
    refused(&merged(&context, &head, &models, &[]), 2, &["different numbers of layers", "base_only: keep"]);
    let misspelt = merged(&context, &format!("{head}\nbase_onyl: keep"), &models, &[]);
    refused(&misspelt, 2, &["did you mean `base_only`?"]);
    refused(&merged(&context, &format!("{head}\nbase_only: maybe"), &models, &[]), 2, &["`keep` or `refuse`"]);
    let run = merged(&context, &format!("{head}\nbase_only: keep"), &models, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let (out, base) = (checkpoint::read(&context.path("out")), checkpoint::read(&context.path("base")));
    assert_eq!(out.keys().collect::<Vec<_>>(), base.keys().collect::<Vec<_>>());
    for name in ["model.layers.2.mlp.up_proj.weight", "model.layers.0.mlp.gate.weight"] {
        assert_eq!(out[name], base[name], "{name}");
    }
    assert_eq!(out["model.layers.1.mlp.up_proj.weight"].values(), [3.0, 3.5]);
    assert_eq!(out["model.norm.weight"].values(), [4.0, 4.5]);
    let config = std::fs::read_to_string(context.path("out/config.json")).unwrap();
    assert!(config.contains("\"num_hidden_layers\": 3"), "{config}");
}

#[test]
fn the_masks_of_dare_do_not_follow_the_spelling_of_a_path() {
    let context = Context::new();
    let link = context.path("link");
    std::os::unix::fs::symlink(fixture("checkpoints/f32/ft1"), &link).unwrap();
    let whole = fixture("checkpoints/f32/ft1").display().to_string();
    let merge = |name: &str, model: &str, method: &str, more: &str| {
        let recipe = format!(
            "merge_method: {method}\nbase_model: fixtures/checkpoints/f32/base\nmodels:\n\
             {more}- {{model: {model:?}, parameters: {{weight: 1, density: 0.5}}}}\n"
        );
        let out = context.merge(name, &recipe, &["--no-hash", "--seed", "7"]);
        std::fs::read(out.join("model.safetensors")).unwrap()
    };
    for method in ["dare_linear", "dare_ties"] {
        let plain = merge(&format!("{method}-0"), "fixtures/checkpoints/f32/ft1", method, "");
        let link = link.display().to_string();
        for (number, spelling) in
            ["./fixtures/checkpoints/f32/ft1", "fixtures/checkpoints/../checkpoints/f32/ft1/", &whole, &link]
                .into_iter()
                .enumerate()
        {
            assert!(merge(&format!("{method}-{}", number + 1), spelling, method, "") == plain, "{spelling}");
        }
        // A base that is listed takes no place.
        let listed = "- {model: ./fixtures/checkpoints/f32/base}\n";
        assert!(merge(&format!("{method}-listed"), "fixtures/checkpoints/f32/ft1", method, listed) == plain);
        // Another place in the list is another mask.
        let second = "- {model: fixtures/checkpoints/f32/ft2, parameters: {weight: 0, density: 0.5}}\n";
        assert!(merge(&format!("{method}-second"), "fixtures/checkpoints/f32/ft1", method, second) != plain);
    }
}

#[test]
fn stages_of_one_recipe_draw_masks_of_their_own() {
    let context = Context::new();
    let document = |name: &str| {
        format!(
            "{name}merge_method: dare_linear\nbase_model: fixtures/checkpoints/f32/base\nmodels:\n\
             - {{model: fixtures/checkpoints/f32/ft1, parameters: {{weight: 1, density: 0.5}}}}\n"
        )
    };
    let last = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n";
    let recipe = format!("{}---\n{}---\n{last}", document("name: a\n"), document("name: b\n"));
    context.merge("out", &recipe, &["--keep-intermediates"]);
    let stage = |name: &str| std::fs::read(context.path("out.stages").join(name).join("model.safetensors")).unwrap();
    assert!(stage("a") != stage("b"));
    let alone = std::fs::read(context.merge("alone", &document(""), &[]).join("model.safetensors")).unwrap();
    assert!(stage("a") == alone, "the first document draws as it does alone");
}

#[test]
fn one_directory_under_two_spellings_is_one_model() {
    let context = Context::new();
    let recipe = |base: &str| {
        format!(
            "merge_method: task_arithmetic\nbase_model: {base}\nparameters: {{normalize: true}}\nmodels:\n\
             - {{model: fixtures/checkpoints/f32/base, parameters: {{weight: 0.5}}}}\n\
             - {{model: fixtures/checkpoints/f32/ft1, parameters: {{weight: 0.5}}}}\n"
        )
    };
    let same = context.merge("same", &recipe("fixtures/checkpoints/f32/base"), &[]);
    let spelled = context.merge("spelled", &recipe("./fixtures/checkpoints/f32/base"), &[]);
    assert_eq!(checkpoint::read(&same), checkpoint::read(&spelled));
    let twice = "merge_method: linear\nparameters: {weight: 0.5}\nmodels:\n\
                 - model: fixtures/checkpoints/f32/ft1\n- model: ./fixtures/checkpoints/f32/ft1/\n";
    let recipe = context.write("twice.yml", twice);
    let run = context.merge_run(&recipe, &context.path("out"), &[]);
    refused(&run, 2, &["`./fixtures/checkpoints/f32/ft1/` is listed twice, first as `fixtures/checkpoints/f32/ft1`"]);
}
