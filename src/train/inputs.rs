//! The files that a training run reads, by name, so that a change of any of them is seen.

use std::path::{Path, PathBuf};

use super::data::located;
use super::recipe::{AdapterRecipe, TrainRecipe};
use crate::error::Result;
use crate::eval::identity::is_model_file;
use crate::task::{self, TaskConfig};

/// A file that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Name in messages and fingerprints, independent of the path.
    pub label: String,
    /// `None` when the input was not found.
    pub path: Option<PathBuf>,
}

/// The files of a base model that decide what it computes, how texts become tokens and how chats are written.
#[must_use]
pub(crate) fn base_files(folder: &Path) -> Vec<Input> {
    let mut files = listed(folder, "base_model", |name| is_model_file(name) || is_token_file(name));
    let templates = "additional_chat_templates";
    files.extend(listed(&folder.join(templates), &format!("base_model/{templates}"), |_| true));
    files
}

fn is_token_file(name: &str) -> bool {
    name.starts_with("tokenizer") || name.starts_with("chat_template") || name == "special_tokens_map.json"
}

/// The files of an adapter's or a model's folder that decide what it computes.
#[must_use]
pub(crate) fn model_files(folder: &Path, label: &str) -> Vec<Input> {
    let files = listed(folder, label, is_model_file);
    if files.is_empty() { vec![Input { label: format!("{label} {}", folder.display()), path: None }] } else { files }
}

fn listed(folder: &Path, label: &str, wanted: impl Fn(&str) -> bool) -> Vec<Input> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_file());
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| wanted(name)).collect();
    names.sort();
    names.into_iter().map(|name| Input { label: format!("{label}/{name}"), path: Some(folder.join(name)) }).collect()
}

/// Inputs that a recipe names besides the base model: the files of its data sets, of the tasks that it is evaluated on,
/// and of the adapter that it starts from.
///
/// # Errors
/// A task that can't be loaded.
pub(crate) fn recipe_files(recipe: &TrainRecipe, data_dir: Option<&Path>) -> Result<Vec<Input>> {
    let mut files = Vec::new();
    for dataset in &recipe.datasets {
        match located(dataset, data_dir) {
            Ok(Some(path)) => add(&mut files, Input { label: dataset.path.clone(), path: Some(path) }),
            Err(_) => add(&mut files, Input { label: dataset.path.clone(), path: None }),
            Ok(None) => {
                for config in task::load(std::slice::from_ref(&dataset.path))?.tasks {
                    let split = dataset.split.as_deref().or(config.training_split.as_deref());
                    split_files(&config, split, data_dir, &mut files);
                    split_files(&config, shown_split(&config, None), data_dir, &mut files);
                }
            }
        }
    }
    for config in evaluation_tasks(recipe)? {
        split_files(&config, config.evaluation_split(), data_dir, &mut files);
        split_files(&config, shown_split(&config, recipe.evaluation.num_fewshot), data_dir, &mut files);
    }
    for input in start_files(recipe) {
        add(&mut files, input);
    }
    Ok(files)
}

/// The tasks that a recipe is evaluated on.
///
/// # Errors
/// A task that can't be loaded.
pub(crate) fn evaluation_tasks(recipe: &TrainRecipe) -> Result<Vec<TaskConfig>> {
    if recipe.evaluation.disabled || recipe.evaluation.tasks.is_empty() {
        return Ok(Vec::new());
    }
    Ok(task::load(&recipe.evaluation.tasks)?.tasks)
}

/// The tasks whose documents a recipe trains on.
///
/// # Errors
/// A task that can't be loaded.
pub(crate) fn trained_tasks(recipe: &TrainRecipe, data_dir: Option<&Path>) -> Result<Vec<TaskConfig>> {
    let mut tasks = Vec::new();
    for dataset in &recipe.datasets {
        if let Ok(None) = located(dataset, data_dir) {
            tasks.extend(task::load(std::slice::from_ref(&dataset.path))?.tasks);
        }
    }
    Ok(tasks)
}

/// The files of the adapter that a recipe starts from.
pub(super) fn start_files(recipe: &TrainRecipe) -> Vec<Input> {
    match &recipe.adapter {
        AdapterRecipe::Lora(lora) => lora.init_from.iter().flat_map(|s| model_files(&s.path, "init_from")).collect(),
        AdapterRecipe::Full => Vec::new(),
    }
}

/// The split that examples are shown from, where any are: `shots` instead of the task's own number.
#[must_use]
pub(crate) fn shown_split(config: &TaskConfig, shots: Option<usize>) -> Option<&str> {
    if shots.or(config.num_fewshot).unwrap_or(0) == 0
        || (config.fewshot.split.is_none() && config.fewshot.samples.is_some())
    {
        return None;
    }
    let splits = [&config.fewshot.split, &config.training_split, &config.validation_split, &config.test_split];
    splits.into_iter().find_map(Option::as_deref)
}

/// Adds the data files of a task's split.
pub(crate) fn split_files(config: &TaskConfig, split: Option<&str>, data_dir: Option<&Path>, files: &mut Vec<Input>) {
    let names = split.and_then(|split| config.data_files.get(split)).map_or(&[][..], Vec::as_slice);
    for name in names {
        add(files, Input { label: name.clone(), path: config.locate(name, data_dir).ok() });
    }
}

/// Two files of one name, as two tasks may have them, are distinguished by a number.
fn add(files: &mut Vec<Input>, mut input: Input) {
    if files.contains(&input) {
        return;
    }
    let label = input.label.clone();
    for number in 2.. {
        match files.iter().find(|known| known.label == input.label) {
            None => break,
            Some(known) if known.path == input.path => return,
            Some(_) => input.label = format!("{label} ({number})"),
        }
    }
    files.push(input);
}
