//! Every method against its formula computed naively in f64, over odd sizes, dtypes and broken numbers.

use std::path::Path;

use safetensors::Dtype;

use crate::checkpoint::{self, Numbers, Stored, Tensors, half_step, largest};
use crate::context::Context;
use crate::formulas::{self, Elected, Options, Tuned};

const MODELS: [&str; 4] = ["base", "one", "two", "three"];
/// More than one chunk of the executor, and no multiple of anything.
const LARGE: [usize; 2] = [601, 1001];

/// A base and three models in a context's folder.
struct Family {
    context: Context,
    tensors: Vec<Tensors>,
    wide: bool,
}

/// How a merge of the family is stored and computed.
struct Case {
    stored: Dtype,
    recipe: &'static str,
    output: Dtype,
}

const CASES: [Case; 6] = [
    Case { stored: Dtype::F32, recipe: "", output: Dtype::F32 },
    Case { stored: Dtype::BF16, recipe: "", output: Dtype::BF16 },
    Case { stored: Dtype::F16, recipe: "", output: Dtype::F16 },
    Case { stored: Dtype::F64, recipe: "", output: Dtype::F64 },
    Case { stored: Dtype::F32, recipe: "out_dtype: bfloat16\n", output: Dtype::BF16 },
    Case { stored: Dtype::BF16, recipe: "dtype: float32\nout_dtype: float16\n", output: Dtype::F16 },
];

impl Family {
    fn new(dtype: Dtype) -> Self {
        let context = Context::new();
        let tensors: Vec<Tensors> = (0..MODELS.len()).map(|model| tensors(dtype, model)).collect();
        for (name, tensors) in MODELS.iter().zip(&tensors) {
            checkpoint::write(&context.path(name), tensors, None);
        }
        Self { context, tensors, wide: dtype == Dtype::F64 }
    }

    /// Merges and gives every output tensor with its inputs' values, base first, to `check`.
    fn merge(&self, case: &Case, method: &str, base: bool, models: &str, rest: &str, check: impl Fn(&Merged<'_>)) {
        let path = |name: &str| self.context.path(name).display().to_string();
        let mut recipe = format!("merge_method: {method}\n{}{rest}", case.recipe);
        if base {
            recipe += &format!("base_model: {:?}\n", path("base"));
        }
        recipe += "models:\n";
        for (name, parameters) in MODELS[1..].iter().zip(models.split(';')) {
            recipe += &format!("  - model: {:?}\n    parameters: {{{parameters}}}\n", path(name));
        }
        let out = self.context.merge("out", &recipe, &["--no-hash", "--quiet", "--force", "--allow-non-finite"]);
        let out = checkpoint::read(&out);
        assert_eq!(out.keys().collect::<Vec<_>>(), self.tensors[0].keys().collect::<Vec<_>>());
        for (name, stored) in &out {
            assert_eq!(stored.dtype, case.output);
            let inputs: Vec<Vec<f64>> = self.tensors.iter().map(|t| t[name].values()).collect();
            let what = format!("{method} {models} {:?} to {:?}: {name}", case.stored, case.output);
            check(&Merged { what, stored, inputs, wide: self.wide });
        }
    }
}

struct Merged<'a> {
    what: String,
    stored: &'a Stored,
    inputs: Vec<Vec<f64>>,
    wide: bool,
}

impl Merged<'_> {
    fn tuned(&self, weights: [f64; 3], densities: [f64; 3]) -> Vec<Tuned> {
        let part = |i: usize| Tuned { values: self.inputs[i + 1].clone(), weight: weights[i], density: densities[i] };
        (0..3).map(part).collect()
    }

    /// Within one rounding of the output and a few of the working type.
    fn matches(&self, exact: &[f64], magnitude: &[f64], skip: &[bool]) {
        let out = self.stored.values();
        let dtype = self.stored.dtype;
        // In f64, factors that come from sums over the tensor differ with the order of adding.
        let unit = if self.wide { 2_f64.powi(-45) } else { 2_f64.powi(-24) };
        for e in (0..out.len()).filter(|e| !skip.get(*e).unwrap_or(&false)) {
            let (x, y) = (out[e], exact[e]);
            let tolerance = half_step(dtype, y.abs()) + 16.0 * unit * magnitude[e] + 2_f64.powi(-147);
            let limit = largest(dtype);
            let good = if y.is_nan() {
                x.is_nan()
            } else if y.abs() > limit + tolerance {
                x.is_infinite() && x.signum() == y.signum()
            } else {
                (x - y).abs() <= tolerance || (x.is_infinite() && y.abs() + tolerance >= limit)
            };
            assert!(good, "{}[{e}] is {x:e}, exact {y:e}, tolerance {tolerance:e}", self.what);
        }
    }

    fn sizes(&self, models: &[usize]) -> Vec<f64> {
        (0..self.inputs[0].len()).map(|e| models.iter().map(|m| self.inputs[*m][e].abs()).sum()).collect()
    }

    fn elected(&self, elected: &Elected) {
        self.matches(&elected.values, &elected.magnitude, &elected.close);
    }

    fn is_broken(&self) -> bool {
        self.inputs.iter().flatten().any(|x| !x.is_finite())
    }
}

/// A model's tensors: ordinary ones of odd sizes, zeros, tiny numbers, and one with broken elements.
fn tensors(dtype: Dtype, model: usize) -> Tensors {
    let mut tensors = Tensors::new();
    let mut add = |name: &str, shape: &[usize], value: &mut dyn FnMut(usize) -> f64| {
        let values: Vec<f64> = (0..shape.iter().product()).map(value).collect();
        tensors.insert(name.to_owned(), Stored::new(dtype, shape, &values));
    };
    for (name, shape) in [
        ("model.embed_tokens.weight", &[7, 11][..]),
        ("model.layers.0.mlp.up_proj.weight", &[13, 5]),
        ("model.layers.0.self_attn.q_proj.weight", &LARGE),
        ("model.layers.1.mlp.up_proj.weight", &[5, 129]),
        ("model.layers.1.cube.weight", &[3, 4, 5]),
        ("model.norm.weight", &[97]),
    ] {
        let seed = name.bytes().fold(7, |h: u64, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        let (mut base, mut noise) = (Numbers(seed), Numbers(seed ^ (model as u64) << 40));
        add(name, shape, &mut |_| {
            let (value, delta) = (0.1 * base.normal(), 0.02 * noise.normal());
            if model == 0 || noise.next().is_multiple_of(8) { value } else { value + delta }
        });
    }
    add("model.layers.0.one.weight", &[1], &mut |_| 0.5 + 0.25 * model as f64);
    add("model.layers.0.zero.weight", &[3, 5], &mut |e| if e % 2 == 0 { 0.0 } else { -0.0 });
    let mut tiny = Numbers(model as u64 + 99);
    add("model.layers.1.tiny.weight", &[33], &mut |_| tiny.normal() * if dtype == Dtype::F16 { 1e-6 } else { 1e-39 });
    let special = [0.0, -0.0, 1.0, -3.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 60000.0];
    // Every special value of the base meets every one of the models.
    add("model.layers.1.special.weight", &[8, 8], &mut |e| special[(e / 8 + e % 8 * (model + 7)) % 8]);
    tensors
}

fn for_all(test: impl Fn(&Family, &Case)) {
    for case in &CASES {
        test(&Family::new(case.stored), case);
    }
}

#[test]
fn linear_is_the_weighted_mean() {
    for_all(|family, case| {
        for normalize in [true, false] {
            let rest = format!("parameters: {{normalize: {normalize}}}\n");
            family.merge(case, "linear", false, "weight: 0.7;weight: -0.2;weight: 1.1", &rest, |out| {
                let inputs: Vec<_> = out.inputs[1..].iter().cloned().zip([0.7, -0.2, 1.1]).collect();
                out.matches(&formulas::linear(&inputs, normalize), &out.sizes(&[1, 2, 3]), &[]);
            });
        }
    });
}

#[test]
fn slerp_follows_the_arc() {
    for_all(|family, case| {
        for t in [0.0, 0.35, 1.0] {
            family.merge(case, "slerp", true, "", &format!("parameters: {{t: {t}}}\n"), |out| {
                let exact = formulas::slerp(&out.inputs[0], &out.inputs[1], t);
                // A broken element breaks the angle and so the whole tensor.
                let broken = out.inputs[..2].iter().flatten().any(|x| !x.is_finite());
                assert!(!broken || exact.iter().all(|x| x.is_nan()), "{}", out.what);
                out.matches(&exact, &out.sizes(&[0, 1]), &[]);
            });
        }
    });
}

#[test]
fn nuslerp_interpolates_tensors_rows_and_columns() {
    for_all(|family, case| {
        for (axis, rest) in [
            (None, ""),
            (Some(1), "parameters: {nuslerp_flatten: false}\n"),
            (Some(0), "parameters: {nuslerp_flatten: false, nuslerp_row_wise: true}\n"),
        ] {
            for base in [false, true] {
                // Three dimensions: rows of the last axis are not those of the formula's two.
                family.merge(case, "nuslerp", base, "weight: 0.3;weight: 0.5", rest, |out| {
                    if out.is_broken() || out.stored.shape.len() == 3 && axis == Some(1) {
                        return;
                    }
                    let inputs: [Tuned; 2] = [1, 2].map(|i| Tuned {
                        values: out.inputs[i].clone(),
                        weight: [0.3, 0.5][i - 1],
                        density: 1.0,
                    });
                    let start = base.then_some(out.inputs[0].as_slice());
                    let exact = formulas::nuslerp(start, &inputs, axis, &out.stored.shape);
                    // Near-opposite vectors have large factors.
                    let sizes: Vec<f64> = out.sizes(&[0, 1, 2]).iter().map(|s| s * 64.0).collect();
                    out.matches(&exact, &sizes, &[]);
                });
            }
        }
    });
}

#[test]
fn task_vectors_are_added_with_and_without_election() {
    let (weights, models) = ([0.7, -0.4, 1.2], "weight: 0.7;weight: -0.4;weight: 1.2");
    for_all(|family, case| {
        for (normalize, lambda) in [(false, 1.0), (true, 0.6)] {
            let rest = format!("parameters: {{normalize: {normalize}, lambda: {lambda}}}\n");
            let options = Options { normalize, rescale: false, lambda, wide: family.wide };
            family.merge(case, "task_arithmetic", true, models, &rest, |out| {
                out.elected(&formulas::task_arithmetic(&out.inputs[0], &out.tuned(weights, [1.0; 3]), options));
            });
        }
    });
}

#[test]
fn ties_trims_exactly_and_elects() {
    for_all(|family, case| {
        for densities in [[0.2, 0.2, 0.2], [0.5, 1.0, 0.01], [0.9, 0.0, 0.33]] {
            for (normalize, rescale, lambda) in [(true, false, 1.0), (false, true, 0.8)] {
                let models: Vec<String> =
                    densities.iter().zip([1.0, 0.6, 0.9]).map(|(d, w)| format!("density: {d}, weight: {w}")).collect();
                let rest = format!("parameters: {{normalize: {normalize}, rescale: {rescale}, lambda: {lambda}}}\n");
                let options = Options { normalize, rescale, lambda, wide: family.wide };
                family.merge(case, "ties", true, &models.join(";"), &rest, |out| {
                    if rescale && out.is_broken() {
                        return;
                    }
                    let tuned = out.tuned([1.0, 0.6, 0.9], densities);
                    out.elected(&formulas::ties(&out.inputs[0], &tuned, options));
                });
            }
        }
    });
}

#[test]
fn passthrough_copies_or_scales() {
    for_all(|family, case| {
        family.merge(case, "passthrough", false, "", "", |out| {
            out.matches(&out.inputs[1], &vec![0.0; out.inputs[1].len()], &[]);
            let signs = |x: &[f64]| x.iter().filter(|x| !x.is_nan()).map(|x| x.is_sign_negative()).collect::<Vec<_>>();
            assert_eq!(signs(&out.stored.values()), signs(&out.inputs[1]), "{}", out.what);
        });
        family.merge(case, "passthrough", false, "scale: 0.3", "", |out| {
            let exact: Vec<f64> = out.inputs[1].iter().map(|x| x * 0.3).collect();
            out.matches(&exact, &out.sizes(&[1]), &[]);
        });
    });
}

/// Which elements a model keeps, found by merging it at its place beside models of weight zero, without rescaling, onto
/// a base it differs from everywhere.
fn masks(
    family: &Family,
    method: &str,
    density: f64,
    options: &[&str],
) -> Vec<std::collections::BTreeMap<String, Vec<bool>>> {
    let masks = MODELS[1..].iter().map(|model| {
        let path = |name: &str| family.context.path(name).display().to_string();
        let mut recipe = format!(
            "merge_method: {method}\nbase_model: {:?}\nparameters: {{rescale: false}}\nmodels:\n",
            path("base")
        );
        for other in &MODELS[1..] {
            let weight = i32::from(other == model);
            recipe += &format!("- model: {:?}\n  parameters: {{weight: {weight}, density: {density}}}\n", path(other));
        }
        let options = [options, &["--no-hash", "--quiet", "--force"]].concat();
        let out = checkpoint::read(&family.context.merge("mask", &recipe, &options));
        let kept = |name: &String, stored: &Stored| {
            let base = family.tensors[0][name].values();
            stored.values().iter().zip(base).map(|(x, b)| *x != b).collect()
        };
        out.iter().map(|(name, stored)| (name.clone(), kept(name, stored))).collect()
    });
    masks.collect()
}

/// A family in which every element of every model differs from the base, two tensors being equal.
fn different_everywhere() -> Family {
    let context = Context::new();
    let tensors: Vec<Tensors> = (0..MODELS.len())
        .map(|model| {
            let mut numbers = Numbers(5);
            let values: Vec<f64> = (0..LARGE[0] * LARGE[1])
                .map(|_| {
                    let delta = 0.5 + (numbers.next() % 1000) as f64 / 1000.0;
                    let sign = if numbers.next().is_multiple_of(2 + model as u64) { -1.0 } else { 1.0 };
                    if model == 0 { 0.0 } else { sign * delta }
                })
                .collect();
            let stored = Stored::new(Dtype::F32, &LARGE, &values);
            ["a.weight", "b.weight"].into_iter().map(|name| (name.to_owned(), stored.clone())).collect()
        })
        .collect();
    for (name, tensors) in MODELS.iter().zip(&tensors) {
        checkpoint::write(&context.path(name), tensors, None);
    }
    Family { context, tensors, wide: false }
}

#[test]
fn dare_drops_at_random_and_keeps_the_sum_of_magnitudes() {
    let family = different_everywhere();
    let density = 0.3;
    let n = (LARGE[0] * LARGE[1]) as f64;
    let found = masks(&family, "dare_linear", density, &[]);
    let mut all: Vec<&Vec<bool>> = found.iter().flat_map(|m| m.values()).collect();
    for mask in &all {
        let kept = mask.iter().filter(|k| **k).count() as f64;
        assert!((kept - density * n).abs() < 5.0 * (n * density * (1.0 - density)).sqrt(), "{kept} of {n}");
    }
    // Independent masks agree on a share of d^2 + (1-d)^2 of the elements.
    let expected = density * density + (1.0 - density) * (1.0 - density);
    while let Some(mask) = all.pop() {
        for other in &all {
            let same = mask.iter().zip(*other).filter(|(a, b)| a == b).count() as f64;
            assert!((same - expected * n).abs() < 5.0 * (n * expected * (1.0 - expected)).sqrt(), "{same} of {n}");
        }
    }
    assert_eq!(found, masks(&family, "dare_ties", density, &["--threads", "1"]), "a mask hangs on seed and names only");
    assert_ne!(found, masks(&family, "dare_linear", density, &["--seed", "1"]));

    let case = &CASES[0];
    let models = "weight: 0.8, density: 0.3;weight: -0.5, density: 0.3;weight: 0.4, density: 0.3";
    for (method, elect) in [("dare_linear", false), ("dare_ties", true)] {
        for normalize in [false, true] {
            let options = Options { normalize, rescale: true, lambda: 0.9, wide: false };
            let rest = format!("parameters: {{lambda: 0.9, normalize: {normalize}}}\n");
            family.merge(case, method, true, models, &rest, |out| {
                let name = out.what.rsplit(' ').next().unwrap();
                let keep: Vec<Vec<bool>> = found.iter().map(|m| m[name].clone()).collect();
                let tuned = out.tuned([0.8, -0.5, 0.4], [1.0; 3]);
                out.elected(&formulas::consensus(&out.inputs[0], &tuned, &keep, options, elect));
            });
        }
    }
}

#[test]
fn dare_is_decided_by_its_seed() {
    let family = Family::new(Dtype::BF16);
    let recipe = |density: f64| {
        let path = |name: &str| family.context.path(name).display().to_string();
        format!(
            "merge_method: dare_ties\nbase_model: {:?}\nmodels:\n- model: {:?}\n  \
             parameters: {{weight: 1, density: {density}}}\n",
            path("base"),
            path("one")
        )
    };
    let weights = |directory: &Path| std::fs::read(directory.join("model.safetensors")).unwrap();
    let merge = |name: &str, density: f64, seed: &str| {
        weights(&family.context.merge(
            name,
            &recipe(density),
            &["--no-hash", "--quiet", "--allow-non-finite", "--seed", seed],
        ))
    };
    let first = merge("first", 0.5, "7");
    assert!(first == merge("again", 0.5, "7"));
    assert!(first != merge("other", 0.5, "8"));
    // Nothing kept is the base, but for elements that are NaN anywhere.
    merge("none", 0.0, "7");
    let none = checkpoint::read(&family.context.path("none"));
    for (name, stored) in none.iter().filter(|(name, _)| !name.contains("special")) {
        assert_eq!(stored.values(), family.tensors[0][name].values(), "{name}");
    }
}
