//! Tasks as training data: each document with the prompt of the evaluation, with its right answer.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::chat::Chat;
use super::content::{Closing, Content};
use super::encode::Encoder;
use super::error::DataError;
use super::source::{Item, Rows};
use crate::error::Result;
use crate::event::Progress;
use crate::task::{OutputType, PromptSettings, Task, TaskConfig, TaskError};
use crate::train::recipe::DatasetRecipe;

/// Adds a task's documents to the rows.
pub(super) fn read(
    config: TaskConfig,
    dataset: &DatasetRecipe,
    data_dir: Option<&Path>,
    encoder: &Encoder<'_>,
    progress: Progress<'_>,
    rows: &mut Rows,
) -> Result<()> {
    let name = config.name.clone();
    let Some(split) = dataset.split.clone().or_else(|| config.training_split.clone()) else {
        let known = config.data_files.keys().cloned().collect();
        return Err(DataError::NoTrainingSplit { set: dataset.name.clone(), task: name, known }.into());
    };
    let settings = PromptSettings { chat: encoder.chat().map(Chat::template), ..PromptSettings::default() };
    let evaluated = evaluated_prompts(&config, data_dir, &settings)?;
    let whole_text = config.output_type == OutputType::LoglikelihoodRolling;
    let task = Task::open_split(config, &split, data_dir)?;
    let prompts = task.prompts(&settings)?;
    let origin: Arc<str> = format!("task `{name}`, split `{split}`").into();
    if prompts.system_dropped > 0 {
        progress.warn(format!("{origin}: the chat template refuses the system message, which is left out"));
    }
    let mut shared = 0;
    for rendered in &prompts.rendered {
        let Some(pair) = task.completion(rendered, &settings)? else {
            rows.unanswered += 1;
            continue;
        };
        shared += usize::from(evaluated.contains(&rendered.context));
        let closing = if settings.chat.is_some() { Closing::Turn } else { Closing::Eos };
        let content = if whole_text {
            Content::Text(pair.continuation)
        } else {
            Content::Pair { prompt: pair.context, completion: pair.continuation, closing, scored: true }
        };
        rows.items.push(Item { origin: Arc::clone(&origin), row: rendered.doc_id + 1, content });
    }
    if shared > 0 {
        progress.warn(format!(
            "{origin}: {shared} of {} prompts are also asked when the task is evaluated, so its scores will flatter",
            prompts.rendered.len()
        ));
    }
    Ok(())
}

/// The prompts of the task's evaluation; none where its data are not at hand.
fn evaluated_prompts(
    config: &TaskConfig,
    data_dir: Option<&Path>,
    settings: &PromptSettings<'_>,
) -> Result<BTreeSet<String>, TaskError> {
    if config.output_type == OutputType::LoglikelihoodRolling {
        return Ok(BTreeSet::new());
    }
    let task = match Task::open(config.clone(), data_dir) {
        Err(TaskError::NoDataFile { .. } | TaskError::NoSplit { .. }) => return Ok(BTreeSet::new()),
        task => task?,
    };
    Ok(task.prompts(settings)?.rendered.into_iter().map(|rendered| rendered.context).collect())
}
