//! The experiment files of the repository: each is read and planned, and its merges are recipes.

use std::path::Path;

use billon::internal::CancelFlag;
use billon::internal::HashCache;
use billon::internal::RecipeFile;
use billon::internal::experiment::State;
use billon::internal::experiment::{Graph, file, plan};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/experiments")
}

/// Without model and data, a plan still lists every step and says what is missing.
#[test]
fn every_experiment_is_read_and_planned() {
    let out = tempfile::tempdir().unwrap();
    let mut found = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let experiment = file::load(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let graph = Graph::new(&experiment).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let state = State::load(out.path()).unwrap();
        let plan = plan(&graph, &state, &[], &mut HashCache::default(), &CancelFlag::new()).unwrap();
        assert_eq!(plan.running().count(), graph.steps.len(), "{}", path.display());
        assert!(!plan.missing.is_empty(), "{}", path.display());
        for (index, step) in graph.steps.iter().enumerate() {
            for need in &step.needs {
                let before = graph.steps.iter().position(|other| other.name == *need).unwrap();
                assert!(before < index, "{}: {} needs {need}", path.display(), step.name);
            }
        }
        for candidate in experiment.merges.values().flat_map(|merge| &merge.candidates) {
            let text = candidate.recipe.text().replace("$base", "base").replace("$specialist:", "");
            let file = RecipeFile::parse("r.yml".as_ref(), &text, false);
            assert!(file.diagnostics().list().is_empty(), "{text}\n{:?}", file.diagnostics().list());
            assert_eq!(file.recipes().len(), 1);
        }
        found += 1;
    }
    assert_eq!(found, 5);
}

/// The paper merges four specialists at 0.25 each; the rows of the table follow the file.
#[test]
fn the_papers_experiment_has_the_papers_rows() {
    let experiment = file::load(&folder().join("paper-2411.02476.yml")).unwrap();
    let graph = Graph::new(&experiment).unwrap();
    let rows: Vec<&str> = graph.rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(rows, ["base", "sentiment", "headline", "relation", "policy", "multi-task", "merged"]);
    let recipe = &experiment.merges["merged"].candidates[0].recipe;
    assert_eq!(recipe.recipes()[0].sources().count(), 4);
    assert_eq!(recipe.text().matches("weight: 0.25\n").count(), 4);
    let training = format!("{:?}", experiment.specialists["policy"]);
    for part in ["\"lora_r\": Number(32)", "\"lora_alpha\": Number(46)", "\"learning_rate\": Number(0.0002)"] {
        assert!(training.contains(part), "{part}: {training}");
    }
    let cocktail = file::load(&folder().join("cocktail-2410.01109.yml")).unwrap();
    assert_eq!(cocktail.specialists.len(), 7 + 7 + 21 + 7 + 2);
}
