//! The tasks of an experiment: loaded, given their roles, their files found.

use serde_json::Value;

use super::error::ExperimentError;
use super::schema::Evaluation;
use crate::error::Result;
use crate::task::{self, Role, TaskConfig};

/// A task and the role that the experiment gives it.
#[derive(Debug, Clone)]
pub(crate) struct RoleTask {
    /// Settings of the task file.
    pub config: TaskConfig,
    /// Seen, unseen or general.
    pub role: Role,
    /// Problems of the files that it was read from, which stop nothing.
    pub warnings: Vec<String>,
}

/// Loads all tasks of an evaluation, groups and tags written out, in the order of the file.
///
/// # Errors
/// An unknown name, a faulty task file, a task with two roles.
pub(crate) fn load(evaluation: &Evaluation) -> Result<Vec<RoleTask>> {
    let mut tasks: Vec<RoleTask> = Vec::new();
    for (name, role) in evaluation.tasks() {
        let mut set = task::load(&[name.to_owned()])?;
        for config in set.tasks {
            match tasks.iter().find(|task| task.config.name == config.name) {
                Some(known) if known.role != role => {
                    let (first, second) = (known.role.name(), role.name());
                    return Err(ExperimentError::TwoRoles { task: config.name, first, second }.into());
                }
                Some(_) => {}
                None => tasks.push(RoleTask { config, role, warnings: std::mem::take(&mut set.warnings) }),
            }
        }
    }
    Ok(tasks)
}

/// The tasks' own names of what a gate lists in the words of the evaluation: a task file or a group
/// becomes the tasks that it stands for, anything else stays.
///
/// # Errors
/// A faulty task file.
pub(crate) fn names(evaluation: &Evaluation, listed: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in listed {
        if evaluation.tasks().any(|(name, _)| name == entry) {
            names.extend(task::load(std::slice::from_ref(entry))?.tasks.into_iter().map(|config| config.name));
        } else {
            names.push(entry.clone());
        }
    }
    Ok(names)
}

/// The task with its validation split in the place of its test split.
///
/// # Errors
/// [`ExperimentError::NoSplit`] for a task without one.
pub(crate) fn validation(config: &TaskConfig) -> Result<TaskConfig, ExperimentError> {
    let mut config = config.clone();
    if config.validation_split.is_none() {
        return Err(ExperimentError::NoSplit { task: config.name, what: "validation split" });
    }
    config.test_split = None;
    Ok(config)
}

/// Settings of a task file that decide prompts, answers and scores.
#[must_use]
pub(crate) fn settings(config: &TaskConfig) -> Value {
    Value::Object(config.raw.clone())
}
