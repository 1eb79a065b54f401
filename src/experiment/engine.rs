//! The real work of an experiment's steps, on this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::collect;
use super::graph::Row;
use super::report::{html, markdown};
use super::row_gate::row_gate;
use super::schema::{Candidate, Origin, Specialist};
use super::task_vectors::{Part, statistics};
use super::tasks;
use super::training;
use super::value::yaml;
use super::work::{Context, Done, Subject, Work};
use crate::compute::merge::cpu::Cpu;
use crate::compute::nn::Precision;
use crate::error::Result;
use crate::eval::cache::{CachedModel, ResponseCache};
use crate::eval::gate::decide;
use crate::eval::language_model::LanguageModel;
use crate::eval::local::LocalOptions;
use crate::eval::open::{AdapterChoice, OpenedModel, open_merged, open_model};
use crate::eval::results::{self, RunRecord, RunResults, TaskRecord};
use crate::eval::run::{EvalOptions, evaluate};
use crate::hub;
use crate::lora::{Adapter, LoraFactors};
use crate::merge::output::files::CompanionOptions;
use crate::merge::{InMemoryOptions, MergeOptions, PlanOptions, in_memory, merge};
use crate::model::WeightPool;
use crate::storage::hash::{HashAlgorithm, cache_dir};
use crate::storage::publish::publish_file;
use crate::task::{Documents, PromptSettings, Role, Task};
use crate::tokenizer::Tokenizer;
use crate::train::log::LOG_FILE;
use crate::train::{self, PromptRecord, TrainOptions, asking_template};

/// Files of a row's results are named after this instead of the time, so that a second run replaces
/// them.
const STAMP: &str = "run";

/// Does the work with the engines of this program.
#[derive(Debug)]
pub(crate) struct Local {
    threads: usize,
    remember: bool,
    /// Function of the digests in the locks of merges.
    algorithm: HashAlgorithm,
    /// The base model's weights, packed once for all steps.
    base: Arc<WeightPool>,
    /// Warnings about tasks, which are the same for every row.
    said: BTreeSet<String>,
}

impl Local {
    /// With so many threads for merges, whose locks have digests of `algorithm`; `remember` keeps answers for other runs.
    #[must_use]
    pub(crate) fn new(threads: usize, remember: bool, algorithm: HashAlgorithm) -> Self {
        Self { threads, remember, algorithm, base: Arc::default(), said: BTreeSet::new() }
    }

    /// Lets go of the base model where another one beside it would not fit into memory.
    fn make_room(&self) {
        if train::available_bytes().is_some_and(|free| free < 2 * self.base.bytes()) {
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

    fn open(&self, subject: &Subject<'_>, context: Context<'_>) -> Result<OpenedModel> {
        let base = Self::base(context)?;
        let options = LocalOptions { seed: context.experiment.seed, ..LocalOptions::default() };
        let precision = match context.experiment.evaluation.weights.as_str() {
            "bf16" => Precision::Bf16,
            "f16" => Precision::F16,
            _ => Precision::F32,
        };
        let progress = context.progress;
        let pool = Some(Arc::clone(&self.base));
        if !matches!(subject, Subject::Base) {
            self.make_room();
        }
        match subject {
            Subject::Base => open_model(&base, &[], precision, pool, options, progress),
            Subject::Kept(folder) => open_model(folder, &[], precision, None, options, progress),
            Subject::Specialist(name) => {
                let folder = context.specialist_folder(name);
                if folder.join("adapter_config.json").is_file() {
                    let adapter = AdapterChoice { path: folder, weight: 1.0 };
                    open_model(&base, &[adapter], precision, pool, options, progress)
                } else {
                    open_model(&folder, &[], precision, None, options, progress)
                }
            }
            Subject::Merged(candidate) => {
                let text = yaml(&context.recipe(candidate, &base));
                let name = format!("merge {}", candidate.name);
                let plan = PlanOptions { seed: context.experiment.seed, ..PlanOptions::default() };
                let into_memory = InMemoryOptions { plan, threads: rayon::current_num_threads() };
                let model = in_memory(name.as_ref(), &text, &into_memory, &Cpu, progress)?;
                open_merged(&model, precision, options, progress)
            }
        }
    }
}

impl Work for Local {
    fn check(&self, context: Context<'_>) -> Result<()> {
        // Where the base model is not at hand, the steps that need it say so.
        let tokenizer = Self::base(context).ok().and_then(|base| Tokenizer::open(&base).ok());
        for (name, specialist) in &context.experiment.specialists {
            if let Origin::Trained { datasets, settings } = &specialist.origin {
                let (recipe, _) = training::recipe(name, datasets, settings, context.experiment)?;
                let template = tokenizer.as_ref().and_then(|tokenizer| asking_template(tokenizer, &recipe).ok());
                if let Some(template) = template.filter(|_| learns_tasks(specialist)) {
                    warn_of_prompts(name, template.is_some(), context);
                }
            }
        }
        Ok(())
    }

    fn train(&mut self, name: &str, specialist: &Specialist, context: Context<'_>) -> Result<Done> {
        let Origin::Trained { datasets, settings } = &specialist.origin else {
            return Ok(Done { outputs: Vec::new(), outcome: Value::Null });
        };
        let (recipe, warnings) = training::recipe(name, datasets, settings, context.experiment)?;
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
        };
        let report = train::run(&recipe, &Self::base(context)?, &options, context.progress)?;
        let log = out.join(LOG_FILE);
        let outcome = json!({
            "log": log.strip_prefix(context.out).unwrap_or(&log),
            "steps": report.steps, "epochs": report.epochs, "loss": report.loss, "tokens": report.tokens,
            "parameters": report.parameters, "seconds": report.seconds,
            "datasets": report.sets.iter().map(|set| json!({
                "name": set.name, "examples": set.examples, "per_epoch": set.per_epoch, "tokens": set.tokens,
            })).collect::<Vec<_>>(),
        });
        Ok(Done { outputs: files_of(&out), outcome })
    }

    fn merge(&mut self, candidate: &Candidate, folder: &Path, context: Context<'_>) -> Result<Done> {
        let text = yaml(&context.recipe(candidate, &Self::base(context)?));
        let options = MergeOptions {
            plan: PlanOptions { seed: context.experiment.seed, ..PlanOptions::default() },
            threads: self.threads,
            force: true,
            keep_intermediates: false,
            hash: Some(self.algorithm),
            companions: CompanionOptions { copy_tokenizer: true, model_card: true },
        };
        let name = format!("merge {}", candidate.name);
        merge(name.as_ref(), &text, folder, &options, &Cpu, context.progress)?;
        let outputs = files_of(folder);
        Ok(Done { outputs, outcome: json!({"recipe": text}) })
    }

    fn evaluate(&mut self, row: &str, subject: &Subject<'_>, validation: bool, context: Context<'_>) -> Result<Done> {
        let evaluation = &context.experiment.evaluation;
        let (mut opened, mut roles) = (Vec::new(), Vec::new());
        for task in tasks::load(evaluation)?.into_iter().filter(|task| !validation || task.role == Role::Seen) {
            for warning in task.warnings {
                self.warn(warning, context);
            }
            let config = if validation { tasks::validation(&task.config)? } else { task.config };
            opened.push(Task::open(config, context.experiment.data.as_deref())?);
            roles.push(task.role);
        }
        let clock = std::time::Instant::now();
        let started = crate::clock::instant().as_millisecond() as f64 / 1e3;
        let OpenedModel { model, tokenizer, mut identity, parameters } = self.open(subject, context)?;
        let chat = evaluation
            .chat_template
            .as_ref()
            .map(|name| tokenizer.chat_template(Some(name.as_str()).filter(|name| !name.is_empty())));
        let chat = chat.transpose()?;
        if let Subject::Specialist(name) = subject
            && !validation
            && !context.experiment.specialists.get(*name).is_some_and(learns_tasks)
            && let Some(record) = PromptRecord::read(&context.specialist_folder(name))
            && let Some(difference) = record.difference(chat.as_ref())
        {
            let cure = "see `apply_chat_template` of `evaluation` and of `training`";
            context.progress.warn(format!("specialist `{name}` {difference}: {cure}"));
        }
        identity.chat_template = chat.as_ref().map(crate::tokenizer::ChatTemplate::sha256);
        // A forced step asks anew.
        let place = cache_dir().filter(|_| self.remember && !context.forced).map(|dir| dir.join("responses"));
        let cache = place.map(|place| ResponseCache::open(&place, &identity)).transpose()?;
        if let Some(warning) = cache.as_ref().and_then(ResponseCache::warning) {
            context.progress.warn(warning);
        }
        let limit = if validation { evaluation.validation_limit } else { evaluation.limit };
        let options = EvalOptions {
            prompts: PromptSettings {
                num_fewshot: evaluation.num_fewshot,
                fewshot_seed: evaluation.fewshot_seed,
                sampler: None,
                documents: Documents::drawn(limit, context.experiment.seed),
                chat: chat.as_ref(),
                system_instruction: evaluation.system_instruction.as_deref(),
                fewshot_as_multiturn: true,
                generation_kwargs: None,
            },
            protocols: evaluation.protocols.clone(),
            seed: context.experiment.seed,
        };
        let asked = CachedModel { model: &model, cache: cache.as_ref(), seed: context.experiment.seed };
        let mut records = evaluate(&opened, &asked, &tokenizer, None, &options, context.progress)?;
        for notice in records.iter().flat_map(TaskRecord::notices) {
            self.warn(notice, context);
        }
        for (record, role) in records.iter_mut().zip(&roles) {
            record.role = Some(role.name().to_owned());
        }
        let (score, by_task) = primary(&records, evaluation.metric.as_deref());
        let mut config = Map::new();
        config.insert("model_num_parameters".to_owned(), parameters.into());
        config.insert("model_dtype".to_owned(), evaluation.weights.as_str().into());
        config.insert("limit".to_owned(), Value::Null);
        if let Some(count) = limit {
            config.insert("sample".to_owned(), json!({"documents": count, "seed": context.experiment.seed}));
        }
        let record = RunRecord {
            model_name: row.to_owned(),
            model_source: "billon".to_owned(),
            model_args: Map::from_iter([("pretrained".to_owned(), context.experiment.base_model.as_str().into())]),
            config,
            environment: Map::from_iter([("max_length".to_owned(), asked.max_length().into())]),
            weights_hash: Some(identity.weights_digest()),
            tokenizer_hash: identity.tokenizer.clone(),
            chat_template: chat.as_ref().map(|template| template.source().to_owned()),
            system_instruction: evaluation.system_instruction.clone(),
            fewshot_as_multiturn: chat.as_ref().map(|_| true),
            fewshot_seed: evaluation.fewshot_seed,
            seed: context.experiment.seed,
            started,
            elapsed: clock.elapsed().as_secs_f64(),
            tasks: records,
            groups: Vec::new(),
        };
        let folder = if validation { "validation" } else { "results" };
        let written = results::write(&context.out.join(folder).join(row).join("results.json"), &record, STAMP)?;
        let file = written.results.strip_prefix(context.out).unwrap_or(&written.results).to_owned();
        let mut outputs = written.samples;
        outputs.push(written.results);
        Ok(Done { outputs, outcome: json!({"results": file, "score": score, "tasks": by_task}) })
    }

    fn gate(&mut self, row: &str, context: Context<'_>) -> Result<Done> {
        let load = |row: &str| -> Result<RunResults> { Ok(RunResults::load(&collect::results_file(row, context))?) };
        let base = load("base")?;
        let of_row = context.graph.rows.iter().find(|(name, _)| name == row).map_or(&Row::Base, |(_, row)| row);
        let report = decide(&row_gate(context.experiment, of_row, &base)?, &base, &load(row)?)?;
        let path = context.out.join("gates").join(format!("{row}.json"));
        let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
        text.push('\n');
        publish_file(&path, text.as_bytes())?;
        let outcome = json!({
            "verdict": report.verdict.name(), "rule": report.rule, "checks": collect::checks(&report),
        });
        Ok(Done { outputs: vec![path], outcome })
    }

    fn task_vectors(&mut self, context: Context<'_>) -> Result<Done> {
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
        Ok(Done { outputs: Vec::new(), outcome: json!(statistics(&vectors, layer)?) })
    }

    fn report(&mut self, context: Context<'_>) -> Result<Done> {
        let data = collect::report(context, self.threads)?;
        let mut json = serde_json::to_string_pretty(&data).unwrap_or_default();
        json.push('\n');
        let mut outputs = Vec::new();
        for (name, text) in
            [("report.html", html::render(&data)?), ("report.md", markdown::render(&data)?), ("report.json", json)]
        {
            let path = context.out.join(name);
            publish_file(&path, text.as_bytes())?;
            outputs.push(path);
        }
        Ok(Done { outputs, outcome: json!({"report": "report.html"}) })
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
    let text = match (trained_as_chat, evaluation.chat_template.is_some()) {
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
fn primary(records: &[TaskRecord], metric: Option<&str>) -> (Option<f64>, Map<String, Value>) {
    let (mut sum, mut count, mut tasks) = (0.0, 0, Map::new());
    for record in records {
        let found = record.metrics().find(|m| metric.is_some_and(|name| m.metric == name || m.key() == name));
        let Some(score) = found.or_else(|| record.metrics().next()) else { continue };
        let value = score.estimate.value;
        if value.is_finite() {
            sum += if score.higher_is_better { value } else { -value };
            count += 1;
            tasks.insert(record.name.clone(), value.into());
        }
    }
    ((count > 0).then(|| sum / f64::from(count)), tasks)
}

/// A module's factors as the statistics take them.
fn part<'a>((module, factors): (&'a String, &'a LoraFactors)) -> Part<'a> {
    Part { module, rank: factors.rank(), scale: factors.scale(), a: factors.a(), b: factors.b() }
}

/// All files directly in a folder but hidden ones, in order of name.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let shown = |path: &PathBuf| path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file() && shown(path)).collect();
    files.sort();
    files
}
