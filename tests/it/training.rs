//! Three optimiser steps against torch and PEFT: the losses, the gradients' norms and every tensor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use crate::context::{Context, fixture};

/// Largest relative error of a step's loss.
const LOSS: f64 = 1e-5;
/// Largest relative error of a gradient's norm and of a trained tensor.
const VALUES: f64 = 1e-4;
/// Largest relative error of what training changed in a tensor: nothing that stands still passes.
const MOVEMENT: f64 = 1e-3;

/// A case of `fixtures/training`.
struct Case {
    name: String,
    folder: PathBuf,
    json: Value,
}

impl Case {
    fn open(name: &str) -> Self {
        let folder = fixture("training").join(name);
        Self { name: name.to_owned(), json: read_json(&folder.join("case.json")), folder }
    }

    /// A path that `case.json` names.
    fn path(&self, key: &str) -> Option<PathBuf> {
        self.json[key].as_str().map(|path| self.folder.join(path).canonicalize().unwrap())
    }

    /// The recipe as text: JSON is YAML. The base model gets a tokenizer, which a run wants and these rows do not
    /// use.
    fn recipe(&self, context: &Context) -> String {
        let mut recipe = self.json["recipe"].as_object().unwrap().clone();
        recipe.extend(self.json["lora"].as_object().cloned().unwrap_or_default());
        let base = context.model_with_tokenizer(&self.path("base_model").unwrap());
        recipe.insert("base_model".into(), json!(base));
        recipe.insert("datasets".into(), json!([{"path": self.path("data"), "format": "tokenised"}]));
        if let Some(start) = self.path("start") {
            recipe.insert("init_from".into(), json!(start));
        }
        serde_json::to_string_pretty(&recipe).unwrap()
    }

    /// The tensors training starts from: an adapter's, or the base model's.
    fn start(&self) -> Tensors {
        tensors(&self.path("start").or_else(|| self.path("base_model")).unwrap())
    }

    /// Trains, and says how the outcome differs from torch's.
    fn differences(&self, context: &Context) -> Vec<String> {
        let recipe = context.write(&format!("{}.yml", self.name), &self.recipe(context));
        let out = context.path(&self.name);
        let run = context.run(["train".as_ref(), recipe.as_os_str(), "--out".as_ref(), out.as_os_str()]);
        if run.code != Some(0) {
            return vec![format!("{}: exit code {:?}: {}", self.name, run.code, run.stderr)];
        }
        let mut differences = Vec::new();
        let mut differ = |what: String| differences.push(format!("{}: {what}", self.name));
        let steps = self.json["steps"].as_array().unwrap();
        let log = log(&out);
        if log.len() != steps.len() {
            differ(format!("{} steps in the log instead of {}", log.len(), steps.len()));
        }
        for (step, logged) in steps.iter().zip(&log) {
            for (key, limit) in [("step", 0.0), ("loss", LOSS), ("grad_norm", VALUES), ("learning_rate", 1e-12)] {
                let (expected, found) = (step[key].as_f64().unwrap(), logged[key].as_f64().unwrap_or(f64::NAN));
                let error = (found - expected).abs() / expected;
                if error.is_nan() || error > limit {
                    differ(format!("step {}: {key} {found} instead of {expected}", step["step"]));
                }
            }
        }
        let (start, ours, theirs) = (self.start(), tensors(&out), tensors(&self.folder.join("end")));
        let names = |tensors: &Tensors| tensors.keys().cloned().collect::<Vec<_>>();
        if names(&ours) != names(&theirs) {
            differ(format!("tensors {:?} instead of {:?}", names(&ours), names(&theirs)));
            return differences;
        }
        for (name, (shape, theirs)) in &theirs {
            let (our_shape, ours) = &ours[name];
            if our_shape != shape {
                differ(format!("{name}: shape {our_shape:?} instead of {shape:?}"));
                continue;
            }
            let (values, movement) = errors(&start[name].1, ours, theirs);
            // Not `>`: NaN is no agreement.
            if !(values <= VALUES && movement <= MOVEMENT) {
                differ(format!("{name}: relative error {values:.1e}, of the movement {movement:.1e}"));
            }
        }
        if self.path("start").is_some() {
            let (ours, theirs) = (adapter_config(&out), adapter_config(&self.folder.join("end")));
            for key in CONFIG_KEYS {
                if ours.get(*key) != theirs.get(*key) {
                    differ(format!(
                        "adapter_config.json: {key} {:?} instead of {:?}",
                        ours.get(*key),
                        theirs.get(*key)
                    ));
                }
            }
        }
        differences
    }
}

/// Keys of `adapter_config.json` that decide what an adapter means.
const CONFIG_KEYS: &[&str] =
    &["peft_type", "r", "use_dora", "use_rslora", "rank_pattern", "bias", "modules_to_save", "fan_in_fan_out"];

fn adapter_config(folder: &Path) -> Map<String, Value> {
    let mut config = read_json(&folder.join("adapter_config.json")).as_object().unwrap().clone();
    if let Some(Value::Array(modules)) = config.get_mut("modules_to_save") {
        modules.sort_by_key(ToString::to_string);
        if modules.is_empty() {
            config.insert("modules_to_save".into(), Value::Null);
        }
    }
    config
}

/// Shape and values by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The tensors of the one adapter or model file of a folder.
fn tensors(folder: &Path) -> Tensors {
    let names = ["adapter_model.safetensors", "model.safetensors"];
    let path = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    let bytes = std::fs::read(path.unwrap_or_else(|| panic!("no tensors in {}", folder.display()))).unwrap();
    let read = |view: safetensors::tensor::TensorView<'_>| {
        assert_eq!(view.dtype(), Dtype::F32);
        let (quads, _) = view.data().as_chunks::<4>();
        (view.shape().to_vec(), quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect())
    };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, read(view))).collect()
}

/// Relative error of the values, and of the movement from `start`.
fn errors(start: &[f32], ours: &[f32], theirs: &[f32]) -> (f64, f64) {
    let norm = |a: &[f32], b: Option<&[f32]>| {
        let b = |i: usize| b.map_or(0.0, |b| f64::from(b[i]));
        a.iter().enumerate().map(|(i, a)| (f64::from(*a) - b(i)).powi(2)).sum::<f64>().sqrt()
    };
    let difference = norm(ours, Some(theirs));
    (difference / norm(theirs, None), difference / norm(theirs, Some(start)))
}

/// The log's lines about steps.
fn log(out: &Path) -> Vec<Value> {
    let files = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let text: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("loss").is_some() && line.get("grad_norm").is_some()).collect()
}

fn read_json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

fn names() -> Vec<String> {
    let cases = read_json(&fixture("training/manifest.json"))["cases"].clone();
    serde_json::from_value(cases).unwrap()
}

#[test]
fn three_steps_are_those_of_torch_and_peft() {
    let context = Context::new();
    let mut differences = String::new();
    for name in names() {
        for difference in Case::open(&name).differences(&context) {
            writeln!(differences, "{difference}").unwrap();
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

/// The fixtures themselves: every tensor moves, and by far more than what is allowed to differ.
#[test]
fn the_expected_adapters_have_moved() {
    let names = names();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let case = Case::open(&name);
        let (start, end) = (case.start(), tensors(&case.folder.join("end")));
        assert_eq!(start.keys().collect::<Vec<_>>(), end.keys().collect::<Vec<_>>(), "{name}");
        for (tensor, (_, end)) in &end {
            let (standing_still, _) = errors(&start[tensor].1, &start[tensor].1, end);
            assert!(standing_still > 3.0 * VALUES, "{name}: {tensor}: {standing_still}");
        }
        let rounding = case.json["rounding"]["worst_movement"].as_f64().unwrap();
        assert!(rounding < MOVEMENT / 3.0, "{name}: rounding alone moves a tensor by {rounding}");
    }
}
