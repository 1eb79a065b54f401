//! Adapters as PEFT writes them, read and written again.

use std::path::Path;

use billon::internal::{Adapter, Factors, LoraConfig, SavedTensor, TargetModules};
use ndarray::Array2;
use serde_json::Value;

use crate::context::fixture;

const ADAPTERS: &[&str] = &["llama-rslora", "llama-plain", "phi3-fused", "llama-dora", "llama-saved", "qwen3-head"];

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
}

/// Numbers compare by value: 8 and 8.0 mean the same to Python.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        }
        _ => a == b,
    }
}

/// The fixtures are what PEFT wrote; our folder has the same bytes of weights, and the same keys in
/// the same order with the same values.
#[test]
fn what_peft_wrote_is_written_the_same_again() {
    let out = tempfile::tempdir().unwrap();
    for name in ADAPTERS {
        let folder = fixture("models/adapters").join(name);
        let adapter = Adapter::open(&folder).unwrap();
        let base = adapter.config().base_model.clone().unwrap();
        let saved = out.path().join(name);
        adapter.save(&saved, &base, false).unwrap();
        let weights = "adapter_model.safetensors";
        assert_eq!(std::fs::read(saved.join(weights)).unwrap(), std::fs::read(folder.join(weights)).unwrap(), "{name}");
        let (ours, theirs) = (config(&saved), config(&folder));
        assert!(same(&ours, &theirs), "{name}: {ours:#} {theirs:#}");
        assert!(std::fs::read_to_string(saved.join("README.md")).unwrap().contains(&base));
        let again = Adapter::open(&saved).unwrap();
        assert_eq!((again.factors(), again.saved()), (adapter.factors(), adapter.saved()), "{name}");
        // It does not silently replace what is there.
        assert!(adapter.save(&saved, &base, false).is_err());
        adapter.save(&saved, &base, true).unwrap();
    }
}

#[test]
fn an_adapter_made_of_parts_is_saved_with_the_modules_that_all_linear_stands_for() {
    let mut config = LoraConfig::new("org/base", 2, 4.0, TargetModules::AllLinear);
    config.modules_to_save = vec!["norm".into()];
    let factors = |outputs: usize| Factors {
        a: Array2::from_shape_fn((2, 3), |(row, column)| (3 * row + column) as f32),
        b: Array2::from_elem((outputs, 2), 0.5),
        magnitude: None,
    };
    let parts = [("model.layers.0.q_proj".to_owned(), factors(4)), ("model.layers.0.k_proj".to_owned(), factors(2))];
    let saved = [("model.norm.weight".to_owned(), SavedTensor::of(&[3], &[1.0, 2.0, 3.0]))];
    let adapter = Adapter::from_parts(config.clone(), parts.clone().into(), saved.clone().into()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("adapter");
    adapter.save(&folder, "org/base", false).unwrap();
    let read = Adapter::open(&folder).unwrap();
    assert_eq!((read.factors(), read.saved()), (adapter.factors(), adapter.saved()));
    let names = read.modules().map(str::to_owned).collect();
    assert_eq!(read.config().target_modules, TargetModules::Names(names));
    assert_eq!(read.factors()["model.layers.0.q_proj"].scale(), 2.0);

    // What does not fit together is refused by module.
    config.r = 3;
    let error = Adapter::from_parts(config.clone(), parts.clone().into(), saved.clone().into()).unwrap_err();
    assert!(error.to_string().contains("k_proj` has ranks 2 (A) and 2 (B), the config makes it 3"), "{error}");
    config.r = 2;
    let error = Adapter::from_parts(config.clone(), parts.into(), [].into()).unwrap_err();
    assert!(error.to_string().contains("`norm` is missing"), "{error}");
}
