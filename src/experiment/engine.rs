//! The real work of an experiment's steps, on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::collect;
use super::graph::Row;
use super::output::{Evaluated, Gated, Merged, Reported, StepOutput, Trained, TrainedSet};
use super::report::{html, markdown};
use super::row_gate::row_gate;
use super::schema::{Candidate, Origin, Specialist};
use super::step_runner::{Context, ModelUnderTest, StepResult, StepRunner};
use super::task_vectors::{Part, statistics};
use super::tasks;
use super::training;
use crate::compute::merge::cpu::Cpu;
use crate::compute::nn::WeightDtype;
use crate::error::Result;
use crate::eval::gate::decide;
use crate::eval::local::LocalOptions;
use crate::eval::open::{AdapterChoice, open_merged, open_model};
use crate::eval::results::{self, RunResults, TaskRecord};
use crate::eval::session::{self, EvaluatedModel, ModelFacts, Session, SessionOptions, response_folder};
use crate::hub;
use crate::lora::{Adapter, LoraFactors};
use crate::merge::{MergeOptions, in_memory, merge};
use crate::model::WeightPool;
use crate::parallel::Workers;
use crate::storage::hash::HashAlgorithm;
use crate::storage::publish::publish_file;
use crate::task::{Documents, Role};
use crate::tokenizer::Tokenizer;
use crate::train::log::LOG_FILE;
use crate::train::{self, PromptRecord, TrainOptions, asking_template};

/// Files of a row's results are named after this instead of the time, so that a second run replaces
/// them.
const STAMP: &str = "run";

/// Does the work with the engines of this program.
#[derive(Debug)]
pub(crate) struct Local {
    workers: Workers,
    remember: bool,
    /// Function of the digests in the locks of merges.
    algorithm: HashAlgorithm,
    /// The base model's weights, packed once for all steps.
    base: Arc<WeightPool>,
    /// Warnings about tasks, which are the same for every row.
    said: BTreeSet<String>,
}

impl Local {
    /// On these threads; the locks of merges have digests of `algorithm`; `remember` keeps answers for other runs.
    #[must_use]
    pub(crate) fn new(workers: Workers, remember: bool, algorithm: HashAlgorithm) -> Self {
        Self { workers, remember, algorithm, base: Arc::default(), said: BTreeSet::new() }
    }

    /// Lets go of the base model where another one beside it would not fit into memory.
    fn evict_base(&self) {
        if crate::machine::available_bytes().is_some_and(|free| free < 2 * self.base.bytes()) {
            self.base.clear();
        }
    }

    /// Says something once.
    fn warn(&mut self, text: String, context: Context<'_>) {
        if self.said.insert(text.clone()) {
            context.progress.warn(text);
        }
    }

    fn base(context: Context<'_>) -> Result<PathBuf> {
        Ok(hub::resolve(&context.experiment.base_model, None, hub::cache_dir().as_deref())?)
    }

    fn open(&self, row: &str, model: &ModelUnderTest<'_>, context: Context<'_>) -> Result<EvaluatedModel> {
        let base = Self::base(context)?;
        let options = LocalOptions { seed: context.experiment.seed, workers: self.workers, ..LocalOptions::default() };
        let dtype = context.experiment.evaluation.weights.as_str();
        let precision = match dtype {
            "bf16" => WeightDtype::Bf16,
            "f16" => WeightDtype::F16,
            _ => WeightDtype::F32,
        };
        let progress = context.progress;
        let pool = Some(Arc::clone(&self.base));
        if !matches!(model, ModelUnderTest::Base) {
            self.evict_base();
        }
        // Results say the same wherever the output folder is.
        let below_out = |folder: &Path| folder.strip_prefix(context.out).unwrap_or(folder).to_path_buf();
        let mut facts = ModelFacts {
            name: row.to_owned(),
            pretrained: context.experiment.base_model.clone(),
            dtype: dtype.to_owned(),
            ..ModelFacts::default()
        };
        let opened = match model {
            ModelUnderTest::Base => open_model(&base, &[], precision, pool, options, progress)?,
            ModelUnderTest::OnDisk(folder) => {
                facts.pretrained = below_out(folder).display().to_string();
                open_model(folder, &[], precision, None, options, progress)?
            }
            ModelUnderTest::Specialist(name) => {
                let folder = context.specialist_folder(name);
                if folder.join("adapter_config.json").is_file() {
                    facts.adapters = vec![AdapterChoice { path: below_out(&folder), weight: 1.0 }];
                    let adapter = AdapterChoice { path: folder, weight: 1.0 };
                    open_model(&base, &[adapter], precision, pool, options, progress)?
                } else {
                    facts.pretrained = below_out(&folder).display().to_string();
                    open_model(&folder, &[], precision, None, options, progress)?
                }
            }
            ModelUnderTest::Merged(candidate) => {
                let recipe = context.recipe(candidate, &base);
                let workers = self.workers;
                let merged = MergeOptions { seed: context.experiment.seed, workers, ..MergeOptions::default() };
                let model = in_memory(&recipe, &merged, &Cpu, progress)?;
                open_merged(&model, precision, options, progress)?
            }
        };
        Ok(EvaluatedModel::local(opened, facts))
    }
}

impl StepRunner for Local {
    fn check(&self, context: Context<'_>) -> Result<()> {
        // Where the base model is not at hand, the steps that need it say so.
        let tokenizer = Self::base(context).ok().and_then(|base| Tokenizer::open(&base).ok());
        for (name, specialist) in &context.experiment.specialists {
            if let Origin::Trained { recipe, .. } = &specialist.origin {
                let (recipe, _) = training::recipe(recipe, context.experiment)?;
                let template = tokenizer.as_ref().and_then(|tokenizer| asking_template(tokenizer, &recipe).ok());
                if let Some(template) = template.filter(|_| learns_tasks(specialist)) {
                    warn_of_prompts(name, template.is_some(), context);
                }
            }
        }
        Ok(())
    }

    fn train(&mut self, name: &str, specialist: &Specialist, context: Context<'_>) -> Result<StepResult> {
        let Origin::Trained { recipe, .. } = &specialist.origin else {
            return Ok(StepResult::default());
        };
        let (recipe, warnings) = training::recipe(recipe, context.experiment)?;
        for warning in warnings {
            context.progress.warn(warning);
        }
        let out = context.specialist_folder(name);
        // A run of the same recipe, model and data goes on; any other in the folder gives way, and all do when forced.
        let options = TrainOptions {
            out: out.clone(),
            data_dir: context.experiment.data.clone(),
            resume: !context.forced,
            force: true,
            inputs: vec![context.experiment.file.clone()],
            pool: Some(Arc::clone(&self.base)),
            workers: self.workers,
        };
        let report = train::run(&recipe, &Self::base(context)?, &options, context.progress)?;
        let log = out.join(LOG_FILE);
        let datasets = report.sets.into_iter().map(|set| TrainedSet {
            name: set.name,
            examples: set.examples,
            per_epoch: set.per_epoch,
            tokens: set.tokens,
        });
        let trained = Trained {
            log: log.strip_prefix(context.out).unwrap_or(&log).to_owned(),
            steps: report.steps,
            epochs: report.epochs,
            loss: report.loss,
            tokens: report.tokens,
            parameters: report.parameters,
            seconds: report.seconds,
            datasets: datasets.collect(),
        };
        Ok(StepResult { files: files_of(&out), output: StepOutput::Trained(trained) })
    }

    fn merge(&mut self, candidate: &Candidate, folder: &Path, context: Context<'_>) -> Result<StepResult> {
        let recipe = context.recipe(candidate, &Self::base(context)?);
        let options = MergeOptions {
            seed: context.experiment.seed,
            workers: self.workers,
            force: true,
            hash: Some(self.algorithm),
            ..MergeOptions::default()
        };
        merge(&recipe, folder, &options, &Cpu, context.progress)?;
        let merged = Merged { recipe: recipe.text().to_owned() };
        Ok(StepResult { files: files_of(folder), output: StepOutput::Merged(merged) })
    }

    fn evaluate(
        &mut self,
        row: &str,
        model: &ModelUnderTest<'_>,
        validation: bool,
        context: Context<'_>,
    ) -> Result<StepResult> {
        let evaluation = &context.experiment.evaluation;
        let (mut configs, mut roles) = (Vec::new(), Vec::new());
        for task in tasks::load(evaluation)?.into_iter().filter(|task| !validation || task.role == Role::Seen) {
            for warning in task.warnings {
                self.warn(warning, context);
            }
            let config = if validation { tasks::validation(&task.config)? } else { task.config };
            configs.push(config);
            roles.push(task.role);
        }
        let (limit, seed) =
            (if validation { evaluation.validation_limit } else { evaluation.limit }, context.experiment.seed);
        let options = SessionOptions {
            prompts: evaluation.prompts.clone(),
            documents: Documents::drawn(limit, seed),
            protocols: evaluation.protocols.clone(),
            seed,
            workers: self.workers,
        };
        // Rows are averaged by role; the groups of task files are no part of an experiment.
        let session = Session::open(configs, Vec::new(), context.experiment.data.as_deref(), options)?;
        let opened = self.open(row, model, context)?;
        let chat = evaluation.prompts.template(&opened.tokenizer)?;
        if let ModelUnderTest::Specialist(name) = model
            && !validation
            && !context.experiment.specialists.get(*name).is_some_and(learns_tasks)
            && let Some(record) = PromptRecord::read(&context.specialist_folder(name))
            && let Some(difference) = record.difference(chat.as_ref())
        {
            let cure = "see `apply_chat_template` of `evaluation` and of `training`";
            context.progress.warn(format!("specialist `{name}` {difference}: {cure}"));
        }
        // A forced step asks anew.
        let cache = response_folder().filter(|_| self.remember && !context.forced);
        let evaluated = session.evaluate(&opened, chat.as_ref(), cache.as_deref(), None, context.progress)?;
        let session::Evaluated { record, notices } = evaluated.with_roles(&roles);
        for notice in notices {
            self.warn(notice, context);
        }
        let (score, by_task) = primary(&record.tasks, evaluation.metric.as_deref());
        let folder = if validation { "validation" } else { "results" };
        let written = results::write(&context.out.join(folder).join(row).join("results.json"), &record, STAMP)?;
        let file = written.results.strip_prefix(context.out).unwrap_or(&written.results).to_owned();
        let mut files = written.samples;
        files.push(written.results);
        let evaluated = Evaluated { results: file, score, tasks: by_task };
        Ok(StepResult { files, output: StepOutput::Evaluated(evaluated) })
    }

    fn gate(&mut self, row: &str, context: Context<'_>) -> Result<StepResult> {
        let load = |row: &str| -> Result<RunResults> { Ok(RunResults::load(&collect::results_file(row, context)?)?) };
        let base = load("base")?;
        let of_row = context.graph.rows.iter().find(|(name, _)| name == row).map_or(&Row::Base, |(_, row)| row);
        let report = decide(&row_gate(context.experiment, of_row, &base)?, &base, &load(row)?, self.workers)?;
        let path = context.out.join("gates").join(format!("{row}.json"));
        let mut text = serde_json::to_string_pretty(&report).expect("a report has nothing that JSON lacks");
        text.push('\n');
        publish_file(&path, text.as_bytes())?;
        let (verdict, checks) = (report.verdict.name().to_owned(), collect::checks(&report));
        let gated = Gated { verdict, rule: report.rule, checks };
        Ok(StepResult { files: vec![path], output: StepOutput::Gated(gated) })
    }

    fn task_vectors(&mut self, context: Context<'_>) -> Result<StepResult> {
        let mut adapters = Vec::new();
        for name in context.experiment.specialists.keys() {
            let folder = context.specialist_folder(name);
            // Models trained whole have task vectors of full size, which `billon diff` describes.
            if folder.join("adapter_config.json").is_file() {
                adapters.push((name.clone(), Adapter::open(&folder)?));
            }
        }
        let vectors: Vec<(String, Vec<Part<'_>>)> = adapters
            .iter()
            .map(|(name, adapter)| (name.clone(), adapter.factors().iter().map(part).collect()))
            .collect();
        let layer = |module: &str| module.split('.').find_map(|step| step.parse().ok());
        let output = StepOutput::TaskVectors(statistics(&vectors, layer)?);
        Ok(StepResult { files: Vec::new(), output })
    }

    fn report(&mut self, context: Context<'_>) -> Result<StepResult> {
        let data = collect::report(context, self.workers)?;
        let mut json = serde_json::to_string_pretty(&data).expect("a report has nothing that JSON lacks");
        json.push('\n');
        let mut files = Vec::new();
        for (name, text) in
            [("report.html", html::render(&data)?), ("report.md", markdown::render(&data)?), ("report.json", json)]
        {
            let path = context.out.join(name);
            publish_file(&path, text.as_bytes())?;
            files.push(path);
        }
        let reported = Reported { report: "report.html".into() };
        Ok(StepResult { files, output: StepOutput::Reported(reported) })
    }
}

/// Whether a specialist is trained on tasks, which are asked by one rule.
fn learns_tasks(specialist: &Specialist) -> bool {
    let task = |set: &Map<String, Value>| set.get("type").and_then(Value::as_str) == Some("task");
    matches!(&specialist.origin, Origin::Trained { datasets, .. } if datasets.iter().any(task))
}

/// Says before anything runs that tasks are trained one way and evaluated another.
fn warn_of_prompts(name: &str, trained_as_chat: bool, context: Context<'_>) {
    let evaluation = &context.experiment.evaluation;
    let text = match (trained_as_chat, evaluation.prompts.chat_template.is_some()) {
        (true, false) => {
            "is trained through the chat template and evaluated without one; set `apply_chat_template: true` under \
             `evaluation`, or `apply_chat_template: false` under `training`"
        }
        (false, true) => {
            "is trained on plain prompts and evaluated through the chat template; set `apply_chat_template: true` \
             under `training`, or leave it out of `evaluation`"
        }
        _ => return,
    };
    context.progress.warn(format!("specialist `{name}` {text}"));
}

/// The mean of the tasks' shown metrics, greater being better, and each by itself.
fn primary(records: &[TaskRecord], metric: Option<&str>) -> (Option<f64>, BTreeMap<String, f64>) {
    let (mut sum, mut count, mut tasks) = (0.0, 0, BTreeMap::new());
    for record in records {
        let found = record.metrics().find(|m| metric.is_some_and(|name| m.metric == name || m.key() == name));
        let Some(score) = found.or_else(|| record.metrics().next()) else { continue };
        let value = score.estimate.value;
        if value.is_finite() {
            sum += if score.higher_is_better { value } else { -value };
            count += 1;
            tasks.insert(record.name.clone(), value);
        }
    }
    ((count > 0).then(|| sum / f64::from(count)), tasks)
}

/// A module's factors as the statistics take them.
fn part<'a>((module, factors): (&'a String, &'a LoraFactors)) -> Part<'a> {
    Part { module, scale: factors.scale(), a: factors.a().view(), b: factors.b().view() }
}

/// All files directly in a folder but hidden ones, in order of name.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let shown = |path: &PathBuf| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file() && shown(path)).collect();
    files.sort();
    files
}
