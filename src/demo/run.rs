//! The demo: data, base model and experiment written to a folder, and run.

use std::path::Path;

use super::text::write_data;
use crate::error::Result;
use crate::experiment::{Experiment, file};
use crate::storage::publish::{mark_folder, publish_file, refuse_taken};

/// The experiment, as it is written beside its data.
const EXPERIMENT: &str = include_str!("../../fixtures/demo/demo.yml");

/// The base model that this project trained from scratch; `fixtures/demo/README.md` says how.
const BASE: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../../fixtures/demo/base/config.json")),
    ("model.safetensors", include_bytes!("../../fixtures/demo/base/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../fixtures/demo/base/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../fixtures/demo/base/tokenizer_config.json")),
];

/// Files written beside the run's own.
const NAMES: [&str; 3] = ["demo.yml", "data", "base"];

/// Seed of the demo's data: the one whose pre-training share the base model has seen.
const SEED: u64 = 0;

/// Writes `demo.yml`, `data/` and `base/` to a folder and reads the experiment. Files of an earlier demo are written
/// again, with the same bytes.
///
/// # Errors
/// I/O errors; a folder in which these names are someone else's.
pub(crate) fn prepare(folder: &Path) -> Result<Experiment> {
    // A demo of version 0.1 is known by its experiment file.
    if crate::storage::input::read(&folder.join(NAMES[0]), crate::storage::input::TEXT_BYTES).ok().as_deref()
        != Some(EXPERIMENT.as_bytes())
    {
        refuse_taken(folder, &NAMES)?;
    }
    mark_folder(folder, &NAMES[..1])?;
    write_data(&folder.join("data"), SEED)?;
    for (name, bytes) in BASE {
        publish_file(&folder.join("base").join(name), bytes)?;
    }
    let path = folder.join(NAMES[0]);
    publish_file(&path, EXPERIMENT.as_bytes())?;
    file::load(&path)
}
