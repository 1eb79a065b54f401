//! The fixtures in the repository are what their maker makes.

use std::collections::BTreeMap;

use crate::context::{files, fixture};

#[path = "../../fixtures/make_checkpoints.rs"]
mod make_checkpoints;

#[test]
fn checkpoints_are_what_their_maker_makes() {
    let made: BTreeMap<_, _> = make_checkpoints::files().into_iter().collect();
    let kept = files(&fixture("checkpoints"));
    assert_eq!(made.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    for (path, bytes) in made {
        assert!(kept[&path] == bytes, "{} differs: run `cargo run --example make_fixtures`", path.display());
    }
}

#[test]
fn every_golden_has_its_recipe_and_hash() {
    let manifest = std::fs::read(fixture("mergekit/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let cases = manifest["cases"].as_object().unwrap();
    let names = |folder: &str| -> Vec<String> {
        let names = files(&fixture(folder)).into_keys();
        names.map(|n| n.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let listed: Vec<String> = cases.keys().cloned().collect();
    assert_eq!(names("mergekit/recipes"), listed);
    assert_eq!(names("mergekit/golden"), listed);
    for (name, case) in cases {
        use sha2::{Digest, Sha256};
        let bytes = std::fs::read(fixture(&format!("mergekit/golden/{name}.safetensors"))).unwrap();
        let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(case["sha256"], hash, "{name}");
    }
}
