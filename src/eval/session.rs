//! One evaluation: tasks, prompts, remembered answers and the engine, opened the same way for `billon eval`, for the
//! evaluations of a training run and for the rows of an experiment, so that their results carry the same facts.
//!
//! A [`Session`] knows what is asked; a [`EvaluatedModel`] is asked it. The callers differ in what they may know: a
//! model that is being trained has no identity, since its weights change, and so no remembered answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::cache::{CachedModel, ResponseCache};
use super::identity::ModelIdentity;
use super::judge::Judge;
use super::language_model::LanguageModel;
use super::open::{AdapterChoice, OpenedModel};
use super::results::{GroupMetric, GroupRecord, RunRecord, TaskRecord};
use super::run::{EvalOptions, evaluate};
use crate::error::Result;
use crate::event::Progress;
use crate::parallel::Workers;
use crate::stats::resample::Resampling;
use crate::storage::hash::cache_dir;
use crate::task::{self, AggregateMetric, Documents, Group, PromptOptions, Role, Task, TaskConfig};
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// What is asked of a model, and how.
#[derive(Debug, Clone)]
pub(crate) struct SessionOptions {
    /// How prompts are written.
    pub prompts: PromptOptions,
    /// Documents of each task.
    pub documents: Documents,
    /// Protocols instead of the tasks' first ones.
    pub protocols: Vec<String>,
    /// Seed of intervals.
    pub seed: u64,
    /// Threads that compute intervals.
    pub workers: Workers,
}

/// A model that is asked, and what results say of it.
pub(crate) struct EvaluatedModel {
    /// Answers requests.
    pub model: Box<dyn LanguageModel>,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// What its answers depend on; `None` for one that changes, whose answers are not remembered.
    pub identity: Option<ModelIdentity>,
    /// The facts of its results.
    pub facts: ModelFacts,
}

/// What results say of a model, besides the hashes of its files.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelFacts {
    /// Its name, after which files are named.
    pub name: String,
    /// What it was opened from: a directory or a repository.
    pub pretrained: String,
    /// Adapters added to it.
    pub adapters: Vec<AdapterChoice>,
    /// Storage of the weights in memory: `f32`, `bf16` or `f16`.
    pub dtype: String,
    /// Parameters, where they are known.
    pub parameters: Option<u64>,
    /// Tokens that one thread runs at a time.
    pub batch_tokens: usize,
    /// Whether a server holds it, behind whose name the weights may change.
    pub served: bool,
}

impl EvaluatedModel {
    /// A model of this machine.
    pub(crate) fn local(opened: OpenedModel, facts: ModelFacts) -> Self {
        let OpenedModel { model, tokenizer, identity, parameters } = opened;
        let batch_tokens = model.options.batch_tokens;
        let facts = ModelFacts { parameters: Some(parameters), batch_tokens, served: false, ..facts };
        Self { model: Box::new(model), tokenizer, identity: Some(identity), facts }
    }
}

/// Where the remembered answers of all models are, unless another place is named.
#[must_use]
pub(crate) fn response_folder() -> Option<PathBuf> {
    Some(cache_dir()?.join("responses"))
}

/// An evaluation that is ready to ask.
#[derive(Debug)]
pub(crate) struct Session {
    tasks: Vec<Task>,
    groups: Vec<Group>,
    options: SessionOptions,
    started: f64,
    clock: Instant,
}

/// What came out of asking one model.
#[derive(Debug)]
pub(crate) struct Evaluated {
    /// The run, as results keep it.
    pub record: RunRecord,
    /// Oddities of its tasks, in sentences; whoever evaluates several models says each once.
    pub notices: Vec<String>,
}

impl Session {
    /// Opens the data of tasks. Files named relative to none are looked up in `data`.
    ///
    /// # Errors
    /// What the tasks' data have wrong.
    pub(crate) fn open(
        tasks: Vec<TaskConfig>,
        groups: Vec<Group>,
        data: Option<&Path>,
        options: SessionOptions,
    ) -> Result<Self> {
        let (started, clock) = (crate::clock::instant().as_millisecond() as f64 / 1e3, Instant::now());
        let tasks = tasks.into_iter().map(|config| Task::open(config, data)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { tasks, groups, options, started, clock })
    }

    /// The tasks in their order.
    pub(crate) fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Asks a model everything and scores its answers. Of the answers, those in `cache` are taken over and the others
    /// remembered there.
    ///
    /// # Errors
    /// Prompts that can't be rendered, metrics that don't fit, a cache that can't be opened, what the model says.
    pub(crate) fn evaluate(
        &self,
        under_test: &EvaluatedModel,
        chat: Option<&ChatTemplate>,
        cache: Option<&Path>,
        judge: Option<&Judge>,
        progress: Progress<'_>,
    ) -> Result<Evaluated> {
        let EvaluatedModel { model, tokenizer, identity, facts } = under_test;
        let identity = identity
            .as_ref()
            .map(|identity| ModelIdentity { chat_template: chat.map(ChatTemplate::sha256), ..identity.clone() });
        let known = cache.zip(identity.as_ref()).map(|(place, identity)| ResponseCache::open(place, identity));
        let known = known.transpose()?;
        let unusable = [known.as_ref().and_then(ResponseCache::warning), judge.and_then(Judge::warning)];
        for warning in unusable.into_iter().flatten() {
            progress.warn(warning);
        }
        let SessionOptions { prompts, documents, protocols, seed, workers } = &self.options;
        let options = EvalOptions {
            prompts: prompts.settings(*documents, chat),
            protocols: protocols.clone(),
            resampling: Resampling { seed: *seed, workers: *workers },
        };
        let asked = CachedModel { model: &**model, cache: known.as_ref(), seed: *seed };
        let tasks = evaluate(&self.tasks, &asked, tokenizer, judge, &options, progress)?;
        let notices = tasks.iter().flat_map(TaskRecord::notices).collect();
        let record = RunRecord {
            model_name: facts.name.clone(),
            model_source: if facts.served { "openai" } else { "billon" }.to_owned(),
            model_args: facts.arguments(),
            config: facts.config(*documents),
            environment: environment(tokenizer, asked.max_length()),
            // What a server computes with may change behind its name.
            weights_hash: identity.as_ref().filter(|_| !facts.served).map(ModelIdentity::weights_digest),
            tokenizer_hash: identity.and_then(|identity| identity.tokenizer),
            chat_template: chat.map(|template| template.source().to_owned()),
            system_instruction: prompts.system_instruction.clone(),
            fewshot_as_multiturn: chat.map(|_| prompts.fewshot_as_multiturn),
            fewshot_seed: prompts.fewshot_seed,
            seed: *seed,
            started: self.started,
            elapsed: self.clock.elapsed().as_secs_f64(),
            tasks,
            groups: self.groups.iter().rev().cloned().map(group).collect(),
        };
        Ok(Evaluated { record, notices })
    }
}

impl Evaluated {
    /// Gives the tasks these roles, in their order, instead of those of their files.
    pub(crate) fn with_roles(mut self, roles: &[Role]) -> Self {
        for (record, role) in self.record.tasks.iter_mut().zip(roles) {
            record.role = Some(role.name().to_owned());
        }
        self
    }
}

impl ModelFacts {
    /// The harness's `model_args`.
    fn arguments(&self) -> Map<String, Value> {
        let mut arguments = Map::new();
        arguments.insert("pretrained".into(), json!(self.pretrained));
        arguments.insert("dtype".into(), json!(self.dtype));
        if !self.adapters.is_empty() {
            let adapters: Vec<Value> =
                self.adapters.iter().map(|a| json!({"path": a.path, "weight": a.weight})).collect();
            arguments.insert("peft".into(), adapters.into());
        }
        arguments
    }

    /// More keys of the harness's `config`.
    fn config(&self, documents: Documents) -> Map<String, Value> {
        let mut config = Map::new();
        config.insert("model_num_parameters".into(), json!(self.parameters));
        config.insert("model_dtype".into(), json!(self.dtype));
        config.insert("batch_size".into(), self.batch_tokens.into());
        config.insert("device".into(), json!("cpu"));
        let (limit, sample) = match documents {
            Documents::First(count) => (Some(count), None),
            Documents::Drawn { count, seed } => (None, Some(json!({"documents": count, "seed": seed}))),
            Documents::All => (None, None),
        };
        config.insert("limit".into(), json!(limit));
        config.extend(sample.map(|sample| ("sample".to_owned(), sample)));
        config
    }
}

fn environment(tokenizer: &Tokenizer, max_length: usize) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, token) in [("pad", tokenizer.pad()), ("eos", tokenizer.eos()), ("bos", tokenizer.bos())] {
        map.insert(format!("tokenizer_{key}_token"), json!(token.map(|(text, id)| (text, id.to_string()))));
    }
    map.insert("eot_token_id".into(), json!(tokenizer.eos().map(|(_, id)| id)));
    map.insert("max_length".into(), max_length.into());
    map
}

fn group(group: task::Group) -> GroupRecord {
    let metric =
        |m: AggregateMetric| GroupMetric { metric: m.metric, weight_by_size: m.weight_by_size, slots: m.filters };
    GroupRecord {
        version: group.metadata.get("version").cloned().unwrap_or(Value::Null),
        name: group.name,
        alias: group.alias,
        children: group.members,
        tasks: group.tasks,
        metrics: group.aggregate.into_iter().map(metric).collect(),
    }
}
