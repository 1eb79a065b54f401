//! A specialist's training recipe, and the files and tasks that it reads.

use serde_json::{Map, Value};

use super::schema::Experiment;
use super::tasks;
use super::value::yaml;
use crate::error::Result;
use crate::train::inputs::{self, Input};
use crate::train::recipe::{Parsed, TrainRecipe};

/// The training recipe of a specialist: its own settings, and the experiment's base model and seed.
///
/// # Errors
/// Faults of the settings.
pub(crate) fn recipe(
    name: &str,
    datasets: &[Map<String, Value>],
    settings: &Map<String, Value>,
    experiment: &Experiment,
) -> Result<Parsed> {
    let mut recipe = Map::new();
    recipe.insert("base_model".to_owned(), experiment.base_model.as_str().into());
    recipe.insert("datasets".to_owned(), datasets.iter().cloned().map(Value::Object).collect());
    recipe.extend(settings.clone());
    recipe.entry("seed").or_insert_with(|| experiment.seed.into());
    Ok(TrainRecipe::parse(&format!("training of {name}"), &yaml(&Value::Object(recipe)))?)
}

/// Inputs of a recipe's result besides its own text and the base model.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Data files, and those of the adapter that training starts from.
    pub files: Vec<Input>,
    /// Files of the tasks that are trained on, by name, includes resolved.
    pub trained: Map<String, Value>,
    /// The same of the tasks that training is evaluated on.
    pub evaluated: Map<String, Value>,
}

/// The sources of a recipe.
///
/// # Errors
/// A task that can't be loaded.
pub(crate) fn sources(recipe: &TrainRecipe, experiment: &Experiment) -> Result<Sources> {
    let data = experiment.data.as_deref();
    let said = |tasks: Vec<crate::task::TaskConfig>| {
        tasks.into_iter().map(|config| (config.name.clone(), tasks::settings(&config))).collect()
    };
    Ok(Sources {
        files: inputs::recipe_files(recipe, data)?,
        trained: said(inputs::trained_tasks(recipe, data)?),
        evaluated: said(inputs::evaluation_tasks(recipe)?),
    })
}
