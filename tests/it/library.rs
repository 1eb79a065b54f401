//! The facade as a program uses it: recipes made in Rust, planned, merged and verified.

use std::path::Path;

use billon::{
    ErrorKind, MergeOptions, ModelReference, Progress, Recipe, RecipeFile, Setting, Source, VerifyOptions, merge, plan,
    verify,
};

fn checkpoint(name: &str) -> ModelReference {
    ModelReference::directory(&format!("fixtures/checkpoints/bf16/{name}"))
}

fn ties() -> Recipe {
    Recipe::new("ties")
        .with_base_model(checkpoint("base"))
        .with_model(Source::new(checkpoint("ft1")).with_parameter("weight", Setting::gradient([0.2, 0.9])))
        .with_model(Source::new(checkpoint("ft2")).with_parameter("weight", Setting::when("mlp", 0.5).otherwise(1.0)))
        .with_parameter("density", 0.4)
        .with_parameter("normalize", false)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_recipe_made_in_rust_merges_to_the_bytes_of_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let (made, written) = (folder.path().join("made"), folder.path().join("written"));
    let options = MergeOptions { seed: 3, ..MergeOptions::default() };
    merge(ties(), &made, &options, Progress::silent()).unwrap();
    let file = folder.path().join("recipe.yml");
    std::fs::write(&file, ties().to_yaml()).unwrap();
    merge(RecipeFile::open(&file).unwrap(), &written, &options, Progress::silent()).unwrap();
    for name in ["model.safetensors", "config.json", "README.md", "billon.lock.json"] {
        assert!(read(&made.join(name)) == read(&written.join(name)), "{name}");
    }
    let all = VerifyOptions { sample: usize::MAX, require_derived: true, ..VerifyOptions::default() };
    let report = verify(&made, &all, Progress::silent()).unwrap();
    assert_eq!(report.problems, [""; 0]);
    assert!(report.not_derived.is_none() && report.tensors_derived.len() > 10);
}

#[test]
fn recipes_made_in_rust_use_each_others_results() {
    let first = Recipe::new("linear")
        .with_name("first")
        .with_model(checkpoint("ft1"))
        .with_model(checkpoint("ft2"))
        .with_parameter("weight", 0.5);
    let second = Recipe::new("slerp")
        .with_base_model("first".parse().unwrap())
        .with_model(checkpoint("ft3"))
        .with_parameter("t", 0.5);
    let report = plan(vec![first, second], &MergeOptions::default()).unwrap();
    assert_eq!(report.stages.iter().map(|stage| stage.method.as_str()).collect::<Vec<_>>(), ["linear", "slerp"]);
}

#[test]
fn faults_of_a_recipe_made_in_rust_quote_no_file() {
    let options = MergeOptions::default();
    let nowhere = ties().with_parameter("lambda", Setting::when("nowhere", 0.5).otherwise(1.0));
    for (recipe, part) in [
        (Recipe::new("tise").with_model(checkpoint("ft1")), "unknown merge method `tise`"),
        (nowhere, "filter `nowhere` matches no tensor"),
        (ties().with_parameter("density", 40.0), "expects a number from 0 to 1, not `40.0`"),
        (ties().with_parameter("density", f64::NAN), "expects a number"),
        (ties().with_model(checkpoint("none")), "was not found"),
        (Recipe::new("linear"), "has no models"),
    ] {
        let error = plan(recipe, &options).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(part) && !text.contains("-->"), "{part:?} is not in:\n{text}");
    }
    assert_eq!(plan(Vec::<Recipe>::new(), &options).unwrap_err().kind(), ErrorKind::Usage);
}
