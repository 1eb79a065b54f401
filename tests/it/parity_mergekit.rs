//! The same recipes through billon and through mergekit (`fixtures/mergekit`, see its manifest).
//!
//! Where both state the arithmetic, in f32, the bytes are equal. Everywhere else billon must be at least as close to
//! the exact result as mergekit is.

use std::path::Path;

use serde_json::Value;

use crate::checkpoint::{self, Stored, Tensors, half_step};
use crate::context::{Context, fixture};
use crate::formulas::{self, Options, Tuned};

enum Check {
    /// Bit for bit, except elements whose trimming mergekit leaves to an unstable sort.
    Equal,
    /// Closer to exact arithmetic, or as close.
    Closer,
}

macro_rules! cases {
    ($($name:ident: $check:ident,)*) => {
        const CASES: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            compare(stringify!($name), Check::$check);
        })*
    };
}

cases! {
    bf16_linear: Closer,
    bf16_nuslerp: Closer,
    bf16_slerp: Closer,
    bf16_task_arithmetic: Closer,
    bf16_ties: Closer,
    dare_linear_whole: Equal,
    linear: Equal,
    linear_sum: Equal,
    mixed_linear: Equal,
    mixed_task_arithmetic: Equal,
    nuslerp: Closer,
    nuslerp_base: Closer,
    nuslerp_columns: Closer,
    nuslerp_rows: Closer,
    nuslerp_rows_base: Closer,
    out_bf16_ties: Equal,
    passthrough_scale: Equal,
    passthrough_stack: Equal,
    slerp: Closer,
    slerp_gradient_filters: Closer,
    slices_gradients: Equal,
    task_arithmetic: Equal,
    task_arithmetic_gradient: Equal,
    task_arithmetic_normalize: Equal,
    tied: Equal,
    tied_and_untied: Equal,
    ties: Equal,
    ties_gradient_filters: Equal,
    ties_lambda: Equal,
    ties_negative: Equal,
    ties_rescale: Closer,
    ties_sum: Equal,
}

#[test]
fn every_golden_is_compared() {
    let manifest = std::fs::read(fixture("mergekit/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["cases"].as_object().unwrap().keys().collect::<Vec<_>>(), CASES);
}

fn compare(name: &str, check: Check) {
    let context = Context::new();
    let recipe = fixture(&format!("mergekit/recipes/{name}.yml"));
    let out = context.merge_file(name, &recipe, &["--no-hash", "--quiet"]);
    let ours = checkpoint::read(&out);
    let theirs = checkpoint::read(&fixture(&format!("mergekit/golden/{name}.safetensors")));
    same_tensors(&ours, &theirs);
    same_layers(name, &out);
    let truth = truth(&context, &recipe);
    match check {
        Check::Equal => equal(&ours, &theirs, &truth),
        Check::Closer => closer(&ours, &theirs, &truth),
    }
}

fn same_tensors(ours: &Tensors, theirs: &Tensors) {
    let list = |t: &Tensors| -> Vec<_> { t.iter().map(|(n, t)| (n.clone(), t.dtype, t.shape.clone())).collect() };
    assert_eq!(list(ours), list(theirs));
}

fn same_layers(name: &str, out: &Path) {
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let manifest = read(&fixture("mergekit/manifest.json"));
    let layers = &read(&out.join("config.json"))["num_hidden_layers"];
    assert_eq!(layers, &manifest["cases"][name]["num_hidden_layers"]);
}

fn equal(ours: &Tensors, theirs: &Tensors, truth: &[(String, Truth)]) {
    let (mut elements, mut open) = (0, 0);
    for (name, truth) in truth {
        let (a, b) = (&ours[name], &theirs[name]);
        let (x, y) = (a.values(), b.values());
        for e in 0..x.len() {
            elements += 1;
            if truth.tied[e] {
                open += 1;
                continue;
            }
            let exact = truth.values[e];
            let same = x[e].to_bits() == y[e].to_bits();
            assert!(same, "{name}[{e}]: ours {:e}, mergekit's {:e}, exact {exact:e}", x[e], y[e]);
        }
    }
    assert!(open * 100 <= elements, "{open} of {elements} elements are left open by the specification");
}

fn closer(ours: &Tensors, theirs: &Tensors, truth: &[(String, Truth)]) {
    let (mut our_worst, mut their_worst, mut our_sum, mut their_sum) = (0.0_f64, 0.0_f64, 0.0, 0.0);
    for (name, truth) in truth {
        let (a, b) = (&ours[name], &theirs[name]);
        let (x, y) = (a.values(), b.values());
        for e in (0..x.len()).filter(|e| !truth.tied[*e] && !truth.close[*e]) {
            let exact = truth.values[e];
            let (mine, other) = ((x[e] - exact).abs(), (y[e] - exact).abs());
            // One rounding of the output, and a few f32 roundings on the way.
            let allowed = half_step(a.dtype, exact.abs()) + 4.0 * truth.magnitude[e] * 2_f64.powi(-24);
            assert!(mine <= allowed, "{name}[{e}]: {:e}, exact {exact:e}, off by {mine:e} > {allowed:e}", x[e]);
            our_worst = our_worst.max(mine);
            their_worst = their_worst.max(other);
            our_sum += mine;
            their_sum += other;
        }
    }
    assert!(our_worst <= their_worst, "largest error {our_worst:e}, mergekit's {their_worst:e}");
    // Where both round at the same places the sums differ by chance.
    assert!(our_sum <= 1.01 * their_sum, "sum of errors {our_sum:e}, mergekit's {their_sum:e}");
}

/// The exact result for one tensor.
struct Truth {
    values: Vec<f64>,
    magnitude: Vec<f64>,
    tied: Vec<bool>,
    close: Vec<bool>,
}

/// Computes a recipe naively in f64. The plan tells each tensor's inputs and parameters; that these are right shows
/// in the cases that are equal bit for bit.
fn truth(context: &Context, recipe: &Path) -> Vec<(String, Truth)> {
    let run = context.run(["plan".as_ref(), recipe.as_os_str(), "--json".as_ref()]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let plan: Value = serde_json::from_str(&run.stdout).unwrap();
    let stage = &plan["stages"][0];
    let mut models: std::collections::BTreeMap<String, Tensors> = std::collections::BTreeMap::new();
    for model in stage["models"].as_array().unwrap() {
        let model = model.as_str().unwrap().to_owned();
        let tensors = checkpoint::read(&fixture(model.strip_prefix("fixtures/").unwrap()));
        models.insert(model, tensors);
    }
    let tensors = stage["tensors"].as_array().unwrap().iter().map(|tensor| {
        let inputs: Vec<(&str, &Stored, &Value)> = tensor["inputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|input| {
                let model = input["model"].as_str().unwrap();
                (model, &models[model][input["tensor"].as_str().unwrap()], &input["parameters"])
            })
            .collect();
        let donor = stage["donor"].as_str().unwrap();
        (tensor["name"].as_str().unwrap().to_owned(), exact(stage, donor, tensor, &inputs))
    });
    tensors.collect()
}

fn exact(stage: &Value, donor: &str, tensor: &Value, inputs: &[(&str, &Stored, &Value)]) -> Truth {
    let shared = &tensor["parameters"];
    let method = stage["method"].as_str().unwrap();
    let has_base = !matches!(method, "linear" | "passthrough");
    let base = inputs.iter().find(|(model, _, p)| has_base && *model == donor && p.get("weight").is_none());
    let base = base.map(|(_, stored, _)| stored.values());
    let number = |v: &Value, key: &str, default: f64| v.get(key).and_then(Value::as_f64).unwrap_or(default);
    let switch = |key: &str| shared.get(key).and_then(Value::as_bool).unwrap_or(false);
    let tuned: Vec<Tuned> = inputs
        .iter()
        .filter(|(model, ..)| base.is_none() || *model != donor)
        .map(|(_, stored, p)| Tuned {
            values: stored.values(),
            weight: number(p, "weight", 1.0),
            density: number(p, "density", 1.0),
        })
        .collect();
    let options = Options {
        normalize: switch("normalize"),
        rescale: switch("rescale"),
        lambda: number(shared, "lambda", 1.0),
        wide: false,
    };
    let shape = &inputs[0].1.shape;
    let elected = |elected: formulas::Elected| Truth {
        values: elected.values,
        magnitude: elected.magnitude,
        tied: elected.tied,
        close: elected.close,
    };
    let plain = |values: Vec<f64>| {
        let n = values.len();
        let size = |e: usize| inputs.iter().map(|(_, s, _)| s.values()[e].abs()).sum::<f64>();
        Truth { magnitude: (0..n).map(size).collect(), values, tied: vec![false; n], close: vec![false; n] }
    };
    match (method, &base) {
        ("linear", _) => {
            let inputs: Vec<_> = tuned.into_iter().map(|x| (x.values, x.weight)).collect();
            plain(formulas::linear(&inputs, options.normalize))
        }
        ("passthrough", _) => {
            let scale = number(inputs[0].2, "scale", 1.0);
            plain(tuned[0].values.iter().map(|x| x * scale).collect())
        }
        ("slerp", Some(base)) => plain(formulas::slerp(base, &tuned[0].values, number(shared, "t", f64::NAN))),
        ("nuslerp", base) => {
            let axis = if switch("nuslerp_flatten") { None } else { Some(usize::from(!switch("nuslerp_row_wise"))) };
            plain(formulas::nuslerp(base.as_deref(), &tuned.try_into().unwrap(), axis, shape))
        }
        ("ties", Some(base)) => elected(formulas::ties(base, &tuned, options)),
        ("task_arithmetic" | "dare_linear", Some(base)) => {
            elected(formulas::task_arithmetic(base, &tuned, Options { rescale: false, ..options }))
        }
        (other, _) => panic!("no formula for {other}"),
    }
}
