//! Evaluation during training: loss of held-out rows, and tasks through the evaluation engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::data::{Example, TrainingData, asking_template};
use super::error::TrainError;
use super::gradient::validation_loss;
use super::inject::TrainableModel;
use super::recipe::TrainRecipe;
use crate::error::Result;
use crate::eval::local::{LocalModel, LocalOptions};
use crate::eval::session::{EvaluatedModel, ModelFacts, Session, SessionOptions};
use crate::event::Progress;
use crate::model::Decoder;
use crate::parallel::Workers;
use crate::task::{self, Documents, PromptOptions, Task, TaskSet};
use crate::tokenizer::Tokenizer;

/// Tasks and data that are evaluated, opened once.
pub(crate) struct Evaluation<'a> {
    session: Session,
    /// Problems of the task files, until they are told.
    warnings: Mutex<Vec<String>>,
    /// Oddities of tasks that were told; every evaluation has the same ones.
    told: Mutex<BTreeSet<String>>,
    model: EvaluatedModel,
    decoder: Arc<Decoder>,
    data: &'a TrainingData,
    recipe: &'a TrainRecipe,
    workers: Workers,
}

impl<'a> Evaluation<'a> {
    /// Opens the recipe's tasks. The decoder is the one that is trained, on its threads.
    ///
    /// # Errors
    /// Faults of the task files or their data.
    pub(crate) fn open(
        recipe: &'a TrainRecipe,
        data_dir: Option<&Path>,
        data: &'a TrainingData,
        trained: &TrainableModel,
        tokenizer: Arc<Tokenizer>,
    ) -> Result<Self> {
        let set = match recipe.evaluation.tasks.as_slice() {
            [] => TaskSet::default(),
            named => task::load(named)?,
        };
        let (seed, workers) = (recipe.seed, trained.workers);
        let options = SessionOptions {
            prompts: PromptOptions { num_fewshot: recipe.evaluation.num_fewshot, ..PromptOptions::default() },
            documents: Documents::drawn(recipe.evaluation.limit, seed),
            protocols: Vec::new(),
            seed,
            workers,
        };
        let session = Session::open(set.tasks, set.groups, data_dir, options)?;
        let decoder = Arc::clone(&trained.decoder);
        let local = LocalOptions { seed, workers, ..LocalOptions::default() };
        let facts = ModelFacts { pretrained: recipe.base_model.clone(), ..ModelFacts::default() };
        let model = LocalModel::with_tokenizer(Arc::clone(&decoder), &tokenizer, local);
        // Its weights change with every step: nothing says which of them an answer is of.
        let model = EvaluatedModel { model: Box::new(model), tokenizer, identity: None, facts };
        let (warnings, told) = (Mutex::new(set.warnings), Mutex::default());
        Ok(Self { session, warnings, told, model, decoder, data, recipe, workers })
    }

    /// Whether there is anything to evaluate.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.recipe.evaluation.disabled || (self.session.tasks().is_empty() && self.data.validation.is_empty())
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
        let known: Vec<String> = held_out.into_iter().chain(self.session.tasks().iter().flat_map(of_task)).collect();
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
    /// Errors of the model; `Cancelled`.
    pub(crate) fn run(&self, progress: Progress<'_>) -> Result<BTreeMap<String, f64>> {
        for warning in std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner)) {
            progress.warn(warning);
        }
        let mut values = BTreeMap::new();
        self.losses(&mut values, progress)?;
        if self.session.tasks().is_empty() {
            return Ok(values);
        }
        let template = asking_template(&self.model.tokenizer, self.recipe)?;
        let quiet = Progress { reporter: &crate::event::Silent, ..progress };
        let evaluated = self.session.evaluate(&self.model, template.as_ref(), None, None, quiet)?;
        for notice in evaluated.notices {
            if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(notice.clone()) {
                progress.warn(notice);
            }
        }
        for record in evaluated.record.tasks {
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
        let mut by_set: BTreeMap<usize, Vec<Example>> = BTreeMap::new();
        for example in &self.data.validation {
            by_set.entry(example.set).or_default().push(example.clone());
        }
        let (mut sum, mut targets) = (0.0, 0);
        let several = by_set.len() > 1;
        for (set, examples) in by_set {
            let loss = validation_loss(&self.decoder, &examples, self.workers, progress.cancel)?;
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
