//! `billon eval`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::harness_flags::HarnessFlags;
use super::prompts::PromptArgs;
use super::server::{BackendName, JudgeArgs, ServerArgs};
use super::size::at_least_one;
use super::{OutputArgs, print, print_json, report};
use crate::compute::nn::Precision;
use crate::error::Result;
use crate::eval::cache::{CachedModel, ResponseCache};
use crate::eval::identity::ModelIdentity;
use crate::eval::judge::Judge;
use crate::eval::language_model::LanguageModel;
use crate::eval::local::LocalOptions;
use crate::eval::open::{AdapterChoice, OpenedModel, open_model};
use crate::eval::results::{self, Destination, GroupMetric, GroupRecord, RunRecord, TaskRecord, Written};
use crate::eval::run::{EvalOptions, evaluate};
use crate::eval::server::{Decode, Needs, OpenAiServer};
use crate::event::{CancelFlag, Progress};
use crate::recipe::ModelReference;
use crate::storage::hash::cache_dir;
use crate::task::{self, Documents, Task, TaskSet};
use crate::tokenizer::Tokenizer;
use crate::train::PromptRecord;

/// Arguments of `billon eval`.
#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Hugging Face model directory, or a repository of the local cache.
    #[arg(required_unless_present_any = ["harness_model", "model_args"])]
    model: Option<String>,
    /// Tasks, groups or tags of the built-in suite, task files, or folders of them.
    #[arg(long, short, value_delimiter = ',', required = true, value_name = "NAMES_OR_FILES")]
    tasks: Vec<String>,
    /// Folder of further task files, searched with its sub-folders, whose tasks, groups and tags can then be
    /// named.
    #[arg(long, alias = "include_path", value_name = "DIR")]
    include_path: Vec<PathBuf>,
    /// Where the tasks' data files are.
    #[arg(long, env = "BILLON_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where results and samples are written, in lm-evaluation-harness's layout.
    #[arg(long, short, alias = "output_path", value_name = "DIR")]
    out: Option<PathBuf>,
    /// PEFT adapter to add to the weights, optionally with a weight; may be given several times.
    #[arg(long, value_name = "DIR[=WEIGHT]", value_parser = adapter)]
    adapter: Vec<AdapterChoice>,
    /// Storage of the weights in memory; arithmetic is f32.
    #[arg(long, value_enum, default_value_t = Weights::F32)]
    weights: Weights,
    /// Only the first N documents of each task.
    #[arg(long, short = 'L', value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
    /// Only N documents of each task, drawn at random with --seed; each gets the examples of a full run.
    #[arg(long, value_name = "N", conflicts_with = "limit", value_parser = at_least_one)]
    sample: Option<usize>,
    #[command(flatten)]
    prompts: PromptArgs,
    /// How answers are read: choice-ll, pixiu-gen, strict-gen (default: the task's first).
    #[arg(long, value_delimiter = ',')]
    protocol: Vec<String>,
    /// Tokens that one thread runs at a time.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = at_least_one)]
    batch_tokens: usize,
    /// Seed of confidence intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    judge: JudgeArgs,
    #[command(flatten)]
    harness: HarnessFlags,
    /// Where answers are remembered (default: in `BILLON_CACHE_DIR`).
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Don't remember answers, and don't use remembered ones.
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// The model under test.
struct Opened {
    model: Box<dyn LanguageModel>,
    tokenizer: Arc<Tokenizer>,
    identity: ModelIdentity,
    parameters: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Weights {
    F32,
    Bf16,
    F16,
}

fn adapter(text: &str) -> Result<AdapterChoice, String> {
    let weighted = text.rsplit_once('=').and_then(|(path, weight)| Some((path, weight.parse::<f32>().ok()?)));
    let (path, weight) = weighted.unwrap_or((text, 1.0));
    if !weight.is_finite() {
        return Err(format!("`{weight}` is no weight for an adapter"));
    }
    Ok(AdapterChoice { path: path.into(), weight })
}

impl From<Weights> for Precision {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::F32 => Self::F32,
            Weights::Bf16 => Self::Bf16,
            Weights::F16 => Self::F16,
        }
    }
}

impl EvalArgs {
    pub(super) fn json(&self) -> bool {
        self.output.json
    }

    pub(super) fn run(mut self, cancel: &CancelFlag) -> Result<()> {
        self.split_adapter()?;
        let reporter = report::reporter(self.output.json, self.output.quiet);
        let pool = super::thread_pool(self.output.threads())?;
        let progress = Progress { reporter: &*reporter, cancel };
        let (record, destination) = pool.install(|| self.record(progress))?;
        drop(reporter);
        // Files first: a reader of stdout that has gone costs no results.
        let written = destination.map(|place| place.write(&record, &results::stamp())).transpose()?;
        if self.output.json {
            return print_json(&with_paths(results::write::results_json(&record), written.as_ref()));
        }
        if let Some(written) = written.filter(|_| !self.output.quiet) {
            report::plain::write_line(&format!("results in {}", written.results.display()));
        }
        print(&super::scores::table(&record))
    }

    fn documents(&self) -> Documents {
        match (self.limit, self.sample) {
            (Some(count), _) => Documents::First(count),
            (None, sample) => Documents::drawn(sample, self.seed),
        }
    }

    /// Takes `MODEL+ADAPTER`, which recipes say, apart.
    fn split_adapter(&mut self) -> Result<()> {
        // A directory may have any character in its name.
        let Some(named) = self.model.as_deref().filter(|named| !Path::new(named).exists()) else { return Ok(()) };
        let parsed = ModelReference::parse(named).ok();
        let Some(ModelReference { path, revision, adapter: Some((folder, version)) }) = parsed else { return Ok(()) };
        let cache = crate::hub::cache_dir();
        let model = crate::hub::resolve(&path, revision.as_deref(), cache.as_deref())?;
        let folder = crate::hub::resolve(&folder, version.as_deref(), cache.as_deref())?;
        self.adapter.insert(0, AdapterChoice { path: folder, weight: 1.0 });
        self.model = Some(if revision.is_some() { model.display().to_string() } else { path });
        Ok(())
    }

    fn record(&self, progress: Progress<'_>) -> Result<(RunRecord, Option<Destination>)> {
        let started = crate::clock::instant();
        let clock = Instant::now();
        let model_name = self.harness.model(self.model.as_deref())?;
        self.harness.warn(progress);
        let set = task::load_from(&self.tasks, &self.include_path)?;
        for warning in &set.warnings {
            progress.warn(warning.clone());
        }
        let TaskSet { tasks: configs, groups, .. } = set;
        let data = self.data.as_deref();
        let tasks = configs.into_iter().map(|config| Task::open(config, data)).collect::<Result<Vec<_>, _>>()?;
        let directory = crate::hub::resolve(&model_name, None, crate::hub::cache_dir().as_deref())?;
        let destination = self.out.as_ref().map(|out| Destination::prepare(out, &model_name)).transpose()?;
        let judge = self.judge.judge(self.seed, self.server.request_timeout, !self.no_cache)?;
        let Opened { model, tokenizer, mut identity, parameters } = self.open(&directory, &tasks, progress)?;
        let chat = self.prompts.template(&tokenizer)?;
        let folders = self.adapter.iter().map(|choice| choice.path.as_path()).chain([directory.as_path()]);
        for folder in folders {
            let difference = PromptRecord::read(folder).and_then(|record| record.difference(chat.as_ref()));
            if let Some(difference) = difference {
                let folder = folder.display();
                progress.warn(format!(
                    "{folder} {difference}: scores may say more about the prompts than the model \
                     (`--apply-chat-template`)"
                ));
            }
        }
        identity.chat_template = chat.as_ref().map(crate::tokenizer::ChatTemplate::sha256);
        let place = self.cache.clone().or_else(|| Some(cache_dir()?.join("responses"))).filter(|_| !self.no_cache);
        let cache = place.map(|place| ResponseCache::open(&place, &identity)).transpose()?;
        let unusable = [cache.as_ref().and_then(ResponseCache::warning), judge.as_ref().and_then(Judge::warning)];
        for warning in unusable.into_iter().flatten() {
            progress.warn(warning);
        }
        let model = CachedModel { model: &*model, cache: cache.as_ref(), seed: self.seed };
        let options = EvalOptions {
            prompts: self.prompts.settings(self.documents(), chat.as_ref()),
            protocols: self.protocol.clone(),
            seed: self.seed,
        };
        let records = evaluate(&tasks, &model, &tokenizer, judge.as_ref(), &options, progress)?;
        for notice in records.iter().flat_map(TaskRecord::notices) {
            progress.warn(notice);
        }
        let record = RunRecord {
            model_args: self.model_arguments(&model_name),
            model_name,
            model_source: if self.server.backend == BackendName::Local { "billon" } else { "openai" }.to_owned(),
            config: self.config(parameters),
            environment: environment(&tokenizer, model.max_length()),
            // What a server computes with may change behind its name.
            weights_hash: (self.server.backend == BackendName::Local).then(|| identity.weights_digest()),
            tokenizer_hash: identity.tokenizer.clone(),
            chat_template: chat.as_ref().map(|template| template.source().to_owned()),
            system_instruction: self.prompts.system_instruction().map(str::to_owned),
            fewshot_as_multiturn: chat.as_ref().map(|_| self.prompts.fewshot_as_multiturn()),
            fewshot_seed: self.prompts.fewshot_seed(),
            seed: self.seed,
            started: started.as_millisecond() as f64 / 1e3,
            elapsed: clock.elapsed().as_secs_f64(),
            tasks: records,
            groups: groups.into_iter().rev().map(group).collect(),
        };
        Ok((record, destination))
    }

    /// The model under test, on this machine or behind a server.
    fn open(&self, directory: &Path, tasks: &[Task], progress: Progress<'_>) -> Result<Opened> {
        if self.server.backend == BackendName::Local {
            let local = LocalOptions { batch_tokens: self.batch_tokens, seed: self.seed };
            let opened = open_model(directory, &self.adapter, self.weights.into(), None, local, progress)?;
            let OpenedModel { model, tokenizer, identity, parameters } = opened;
            return Ok(Opened { model: Box::new(model), tokenizer, identity, parameters: Some(parameters) });
        }
        if !self.adapter.is_empty() {
            return Err(AdapterOfServer.into());
        }
        let tokenizer = Arc::new(Tokenizer::open(directory)?);
        let text = Arc::clone(&tokenizer);
        let decode: Decode = Box::new(move |ids| Ok(text.decode(ids, false)?));
        let max_length = self.server.max_length.or_else(|| tokenizer.model_max_length()).unwrap_or(2048);
        let written = |name: &String| name != "choice-ll";
        let labels = |task: &Task| task.config().output_type == task::OutputType::MultipleChoice;
        let scored = |task: &Task| {
            let output = task.config().output_type;
            output != task::OutputType::GenerateUntil
                && (!labels(task) || self.protocol.is_empty() || !self.protocol.iter().all(written))
        };
        let needs = Needs {
            score: tasks.iter().any(scored),
            generate: self.protocol.iter().any(written)
                || tasks.iter().any(|task| task.config().output_type == task::OutputType::GenerateUntil),
        };
        let probe = tokenizer.encode_prompt("Profit rose. The tone is positive")?;
        let server =
            OpenAiServer::connect(self.server.options(max_length, self.seed, probe, decode), needs, progress.cancel)?;
        let url = self.server.base_url.clone().unwrap_or_else(String::new);
        let identity = ModelIdentity {
            weights: vec![(url, server.model().to_owned())],
            adapters: Vec::new(),
            tokenizer: Some(tokenizer.sha256().to_owned()),
            chat_template: None,
            precision: "server".to_owned(),
        };
        Ok(Opened { model: Box::new(server), tokenizer, identity, parameters: None })
    }

    fn model_arguments(&self, model: &str) -> Map<String, Value> {
        let mut arguments = Map::new();
        arguments.insert("pretrained".into(), json!(model));
        arguments.insert("dtype".into(), json!(format!("{:?}", self.weights).to_lowercase()));
        if !self.adapter.is_empty() {
            let adapters: Vec<Value> =
                self.adapter.iter().map(|a| json!({"path": a.path, "weight": a.weight})).collect();
            arguments.insert("peft".into(), adapters.into());
        }
        arguments
    }

    fn config(&self, parameters: Option<u64>) -> Map<String, Value> {
        let mut config = Map::new();
        config.insert("model_num_parameters".into(), json!(parameters));
        config.insert("model_dtype".into(), json!(format!("{:?}", self.weights).to_lowercase()));
        config.insert("batch_size".into(), self.batch_tokens.into());
        config.insert("device".into(), json!("cpu"));
        config.insert("limit".into(), json!(self.limit));
        if let Some(count) = self.sample {
            config.insert("sample".into(), json!({"documents": count, "seed": self.seed}));
        }
        config
    }
}

/// The results with the places of their files, which hold a time stamp.
fn with_paths(mut results: Value, written: Option<&Written>) -> Value {
    if let Some(top) = results.as_object_mut() {
        top.insert("results_path".into(), json!(written.map(|written| &written.results)));
        top.insert("samples_paths".into(), json!(written.map_or(&[][..], |written| &written.samples)));
    }
    results
}

/// An adapter cannot be added to a model that a server holds.
#[derive(Debug, thiserror::Error)]
#[error("an adapter is named, but the answers come from a server")]
struct AdapterOfServer;

impl crate::error::Diagnose for AdapterOfServer {
    fn kind(&self) -> crate::error::ErrorKind {
        crate::error::ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        vec!["let the server load the adapter, and name its model with --served-model".to_owned()]
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
        |m: task::AggregateMetric| GroupMetric { metric: m.metric, weight_by_size: m.weight_by_size, slots: m.filters };
    GroupRecord {
        version: group.metadata.get("version").cloned().unwrap_or(Value::Null),
        name: group.name,
        alias: group.alias,
        children: group.members,
        tasks: group.tasks,
        metrics: group.aggregate.into_iter().map(metric).collect(),
    }
}
