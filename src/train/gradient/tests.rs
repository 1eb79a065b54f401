//! Gradients of whole steps: PEFT's, and those of examples that share a micro-batch.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{StepLoss, StepSettings, step_gradient};
use crate::checkpoint::ModelDir;
use crate::dtype::widen;
use crate::event::CancelFlag;
use crate::lora::Adapter;
use crate::model::{Decoder, DecoderOptions};
use crate::parallel::Workers;
use crate::train::data::Example;
use crate::train::gradient::micro_batch::split_micro_batches;
use crate::train::inject::{TrainableModel, inject};
use crate::train::parameter::Gradients;
use crate::train::recipe::TrainRecipe;

/// A case of `fixtures/training`: a model with the start adapter, and all examples.
fn case(name: &str) -> (PathBuf, TrainableModel, Vec<Example>) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/training");
    let folder = fixtures.join(name);
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
    let base = folder.join(json["base_model"].as_str().unwrap());
    let mut recipe = json["recipe"].as_object().unwrap().clone();
    recipe.extend(json["lora"].as_object().unwrap().clone());
    recipe.insert("base_model".into(), json!(base));
    recipe.insert("datasets".into(), json!([{"path": "data.jsonl", "format": "tokenised"}]));
    let (recipe, _) = TrainRecipe::parse(name, &Value::Object(recipe).to_string()).unwrap();
    let decoder = Decoder::open(&ModelDir::open(&base).unwrap(), &DecoderOptions::default()).unwrap();
    let trainable =
        inject(decoder, &recipe, Some(&Adapter::open(&folder.join("start")).unwrap()), Workers::default()).unwrap();
    let text = std::fs::read_to_string(fixtures.join("data.jsonl")).unwrap();
    let examples = text.lines().map(|line| {
        let row: Value = serde_json::from_str(line).unwrap();
        let numbers =
            |key: &str| row[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect::<Vec<_>>();
        let tokens = numbers("input_ids").into_iter().map(|id| id as u32).collect();
        Example { tokens, trained: numbers("labels").into_iter().map(|label| label >= 0).collect(), set: 0 }
    });
    (folder, trainable, examples.collect())
}

fn gradient(trainable: &TrainableModel, examples: &[&Example]) -> (StepLoss, Gradients) {
    let settings = StepSettings { recompute: false, seed: 0, first_micro_batch: 0, workers: Workers::new(2) };
    step_gradient(&trainable.decoder, &trainable.parameters, examples, settings, &CancelFlag::new()).unwrap()
}

/// The length of the difference relative to that of what is expected.
fn error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |v: f64| v * v;
    let wrong: f64 = found.iter().zip(expected).map(|(f, e)| square(f64::from(*f) - f64::from(*e))).sum();
    let right: f64 = expected.iter().map(|e| square(f64::from(*e))).sum();
    (wrong / right).sqrt()
}

#[test]
fn the_first_steps_gradients_are_pefts() {
    for name in ["llama-lora", "qwen2-lora", "phi3-lora"] {
        let (folder, trainable, examples) = case(name);
        let (_, gradients) = gradient(&trainable, &examples.iter().take(4).collect::<Vec<_>>());
        let bytes = std::fs::read(folder.join("gradients.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.len(), trainable.parameters.len(), "{name}: a gradient of each parameter");
        for (parameter, ours) in trainable.parameters.iter().zip(&gradients.0) {
            let theirs = file.tensor(&format!("base_model.model.{}", parameter.name)).unwrap();
            let mut expected = vec![0.0; ours.len()];
            widen(crate::dtype::DType::F32, theirs.data(), &mut expected);
            let error = error(ours, &expected);
            // Not `>`: NaN is no agreement.
            assert!(error <= 2e-5, "{name}: {}: relative error {error:.1e}", parameter.name);
        }
    }
}

/// Examples of one micro-batch (and so of a packed row) neither see nor move each other: the loss is the sum of
/// the losses alone, and so is every gradient.
#[test]
fn examples_that_share_a_micro_batch_do_not_leak() {
    for name in ["llama-lora", "phi3-lora"] {
        let (_, trainable, examples) = case(name);
        let (a, b) = (&examples[0], &examples[2]);
        assert_eq!(split_micro_batches([a, b], 0).len(), 1, "they share a micro-batch");
        let (together, joint) = gradient(&trainable, &[a, b]);
        let ((first, left), (second, right)) = (gradient(&trainable, &[a]), gradient(&trainable, &[b]));
        let sum = first.sum + second.sum;
        // Other numbers of rows are other orders of sums in the low-rank products.
        assert!((together.sum - sum).abs() <= 1e-6 * sum, "{name}: {} and {sum}", together.sum);
        // Gradients are of the mean over the trained tokens.
        let (total, left_share, right_share) = (together.targets as f64, first.targets as f64, second.targets as f64);
        for (at, parameter) in trainable.parameters.iter().enumerate() {
            let expected: Vec<f32> = left.0[at]
                .iter()
                .zip(&right.0[at])
                .map(|(l, r)| ((f64::from(*l) * left_share + f64::from(*r) * right_share) / total) as f32)
                .collect();
            let error = error(&joint.0[at], &expected);
            assert!(error <= 2e-5, "{name}: {}: relative error {error:.1e}", parameter.name);
        }
    }
}
