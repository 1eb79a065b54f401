//! Evaluation from a model directory to results on disk, in one call.

use std::path::{Path, PathBuf};

use super::local::LocalOptions;
use super::open::open_model;
use super::results::{self, RunResults};
use super::session::{EvaluatedModel, ModelFacts, Session, SessionOptions, response_folder};
use crate::compute::nn::WeightDtype;
use crate::error::Result;
use crate::event::Progress;
use crate::parallel::Workers;
use crate::task::{self, Documents, PromptOptions, TaskSet};

/// Options of [`evaluate`](crate::evaluate), with the defaults of `billon eval`.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// Folder of the tasks' data files.
    pub data: Option<PathBuf>,
    /// First documents of each task; all of them when absent.
    pub limit: Option<usize>,
    /// Examples in each prompt; each task's own number when absent.
    pub num_fewshot: Option<usize>,
    /// Seed of resampling and of sampled answers.
    pub seed: u64,
    /// Threads that score; no answer depends on them.
    pub workers: Workers,
    /// Takes over answers of earlier runs, and keeps those of this one.
    pub remember: bool,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self { data: None, limit: None, num_fewshot: None, seed: 42, workers: Workers::available(), remember: true }
    }
}

/// Scores a model on tasks and publishes the results below `out`.
pub(crate) fn evaluate(
    model: &Path,
    tasks: &[String],
    out: &Path,
    options: &EvaluateOptions,
    progress: Progress<'_>,
) -> Result<RunResults> {
    let &EvaluateOptions { ref data, limit, num_fewshot, seed, workers, remember } = options;
    let TaskSet { tasks, groups, warnings } = task::load(tasks)?;
    for warning in warnings {
        progress.warn(warning);
    }
    let session = SessionOptions {
        prompts: PromptOptions { num_fewshot, ..PromptOptions::default() },
        documents: limit.map_or(Documents::All, Documents::First),
        protocols: Vec::new(),
        seed,
        workers,
    };
    let session = Session::open(tasks, groups, data.as_deref(), session)?;
    let local = LocalOptions { seed, workers, ..LocalOptions::default() };
    let opened = open_model(model, &[], WeightDtype::F32, None, local, progress)?;
    let name = model.display().to_string();
    let dtype = WeightDtype::F32.name().to_owned();
    let facts = ModelFacts { name: name.clone(), pretrained: name, dtype, ..ModelFacts::default() };
    let cache = response_folder().filter(|_| remember);
    let evaluated = session.evaluate(&EvaluatedModel::local(opened, facts), None, cache.as_deref(), None, progress)?;
    for notice in evaluated.notices {
        progress.warn(notice);
    }
    let written = results::write(out, &evaluated.record, &results::stamp())?;
    Ok(RunResults::load(&written.results)?)
}
