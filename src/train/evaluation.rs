//! Evaluation during training: loss of held-out rows, and tasks through the evaluation engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::data::{Example, TrainingData, asking_template};
use super::error::TrainError;
use super::gradient::validation_loss;
use super::inject::Attached;
use super::recipe::TrainRecipe;
use crate::error::Result;
use crate::eval::local::{LocalModel, LocalOptions};
use crate::eval::run::{EvalOptions, evaluate};
use crate::event::Progress;
use crate::parallel::Workers;
use crate::stats::resample::Resampling;
use crate::task::{self, Documents, PromptSettings, Task};
use crate::tokenizer::Tokenizer;

/// What is evaluated, opened once.
pub(crate) struct Evaluation<'a> {
    tasks: Vec<Task>,
    /// Problems of the task files, until they are said.
    warnings: Mutex<Vec<String>>,
    model: LocalModel,
    tokenizer: Arc<Tokenizer>,
    data: &'a TrainingData,
    recipe: &'a TrainRecipe,
    workers: Workers,
}

impl<'a> Evaluation<'a> {
    /// Opens the recipe's tasks. The decoder is the one that is trained, on its threads.
    ///
    /// # Errors
    /// What the task files or their data have wrong.
    pub(crate) fn open(
        recipe: &'a TrainRecipe,
        data_dir: Option<&Path>,
        data: &'a TrainingData,
        trained: &Attached,
        tokenizer: Arc<Tokenizer>,
    ) -> Result<Self> {
        let mut tasks = Vec::new();
        let mut warnings = Vec::new();
        if !recipe.evaluation.tasks.is_empty() {
            let set = task::load(&recipe.evaluation.tasks)?;
            warnings = set.warnings;
            for config in set.tasks {
                tasks.push(Task::open(config, data_dir)?);
            }
        }
        let text = Arc::clone(&tokenizer);
        let detokenize = Box::new(move |ids: &[u32]| Ok(text.decode(ids, true)?));
        let local = LocalOptions { workers: trained.workers, ..LocalOptions::default() };
        let model = LocalModel::new(Arc::clone(&trained.decoder), detokenize, local);
        let workers = trained.workers;
        Ok(Self { tasks, warnings: Mutex::new(warnings), model, tokenizer, data, recipe, workers })
    }

    /// Whether there is anything to evaluate.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.recipe.evaluation.disabled || (self.tasks.is_empty() && self.data.validation.is_empty())
    }

    /// Whether evaluations give the value that the recipe judges by.
    ///
    /// # Errors
    /// [`TrainError::UnknownMetric`] with those that they give.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        let Some(best) = &self.recipe.evaluation.best else { return Ok(()) };
        let held_out = (!self.data.validation.is_empty()).then(|| "eval_loss".to_owned());
        let of_task = |task: &Task| -> Vec<String> {
            let config = task.config();
            config.metrics.iter().map(|metric| format!("{}/{}", config.name, metric.name)).collect()
        };
        let known: Vec<String> = held_out.into_iter().chain(self.tasks.iter().flat_map(of_task)).collect();
        // `task/metric,filter` is one of the metric's values.
        let plain = best.metric.split(',').next().unwrap_or(&best.metric);
        if known.iter().any(|name| name == plain) {
            return Ok(());
        }
        Err(TrainError::UnknownMetric { metric: best.metric.clone(), known })
    }

    /// All values, by name: `eval_loss`, `eval_<set>_loss` where there are several sets, and
    /// `<task>/<metric>`.
    ///
    /// # Errors
    /// What the model says; `Cancelled`.
    pub(crate) fn run(&self, progress: Progress<'_>) -> Result<BTreeMap<String, f64>> {
        for warning in std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner)) {
            progress.warn(warning);
        }
        let mut values = BTreeMap::new();
        self.losses(&mut values, progress)?;
        if self.tasks.is_empty() {
            return Ok(values);
        }
        let template = asking_template(&self.tokenizer, self.recipe)?;
        let prompts = PromptSettings {
            documents: Documents::drawn(self.recipe.evaluation.limit, self.recipe.seed),
            num_fewshot: self.recipe.evaluation.num_fewshot,
            chat: template.as_ref(),
            ..PromptSettings::default()
        };
        let resampling = Resampling { seed: self.recipe.seed, workers: self.workers };
        let options = EvalOptions { prompts, protocols: Vec::new(), resampling };
        let quiet = Progress { reporter: &crate::event::Silent, ..progress };
        for record in evaluate(&self.tasks, &self.model, &self.tokenizer, None, &options, quiet)? {
            for metric in record.metrics() {
                let mut key = format!("{}/{}", record.name, metric.metric);
                if values.contains_key(&key) {
                    key = format!("{}/{}", record.name, metric.key());
                }
                values.insert(key, metric.estimate.value);
            }
        }
        Ok(values)
    }

    fn losses(&self, values: &mut BTreeMap<String, f64>, progress: Progress<'_>) -> Result<()> {
        if self.data.validation.is_empty() {
            return Ok(());
        }
        let decoder = self.model.decoder();
        let mut by_set: BTreeMap<usize, Vec<Example>> = BTreeMap::new();
        for example in &self.data.validation {
            by_set.entry(example.set).or_default().push(example.clone());
        }
        let (mut sum, mut targets) = (0.0, 0);
        let several = by_set.len() > 1;
        for (set, examples) in by_set {
            let loss = validation_loss(decoder, &examples, self.workers, progress.cancel)?;
            sum += loss.sum;
            targets += loss.targets;
            if several && let Some(summary) = self.data.sets.get(set) {
                values.insert(format!("eval_{}_loss", summary.name), loss.mean());
            }
        }
        values.insert("eval_loss".to_owned(), sum / targets as f64);
        Ok(())
    }
}
