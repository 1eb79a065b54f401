//! A specialist's training recipe, and the files and tasks that it reads.

use serde_json::{Map, Value};

use super::schema::Experiment;
use super::tasks;
use crate::error::Result;
use crate::train::inputs::{self, Input};
use crate::train::recipe::{Parsed, TrainRecipe};
use crate::yaml::{Kind, Node, Span, Spanned};

/// The training recipe of a specialist: its own settings, and the experiment's base model and seed.
///
/// # Errors
/// What is wrong with the settings, each with its place in the experiment file.
pub(crate) fn recipe(settings: &Node, experiment: &Experiment) -> Result<Parsed> {
    let own = match &settings.kind {
        Kind::Mapping(entries) => entries.as_slice(),
        _ => &[],
    };
    // Spans of line 0: no user wrote these.
    let made = |key: &str, text: String| {
        let node = Node { span: Span::default(), kind: Kind::Scalar { text, quoted: true } };
        (Spanned { value: key.to_owned(), span: Span::default() }, node)
    };
    let mut entries = vec![made("base_model", experiment.base_model.clone())];
    entries.extend_from_slice(own);
    if !own.iter().any(|(key, _)| key.value == "seed") {
        entries.push(made("seed", experiment.seed.to_string()));
    }
    let root = Node { span: settings.span, kind: Kind::Mapping(entries) };
    Ok(TrainRecipe::read(&root, &experiment.source)?)
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
