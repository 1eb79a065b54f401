//! `billon eval`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::harness_flags::HarnessFlags;
use super::output::{OutputArgs, print, print_json};
use super::prompts::PromptArgs;
use super::report;
use super::server::{BackendName, JudgeArgs, ServerArgs};
use super::size::at_least_one;
use crate::compute::nn::WeightDtype;
use crate::error::Result;
use crate::eval::identity::ModelIdentity;
use crate::eval::local::LocalOptions;
use crate::eval::open::{AdapterChoice, open_model};
use crate::eval::results::{self, Destination, RunRecord, Written};
use crate::eval::server::{Decode, Needs, OpenAiServer};
use crate::eval::session::{EvaluatedModel, ModelFacts, Session, SessionOptions, response_folder};
use crate::event::{CancelFlag, Progress};
use crate::recipe::ModelReference;
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

impl From<Weights> for WeightDtype {
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
        let progress = Progress { reporter: &*reporter, cancel };
        let (record, destination) = self.record(progress)?;
        drop(reporter);
        // Files first: a reader of stdout that has closed costs no results.
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
        let model_name = self.harness.model(self.model.as_deref())?;
        self.harness.warn(progress);
        let TaskSet { tasks, groups, warnings } = task::load_from(&self.tasks, &self.include_path)?;
        for warning in warnings {
            progress.warn(warning);
        }
        let options = SessionOptions {
            prompts: self.prompts.options(),
            documents: self.documents(),
            protocols: self.protocol.clone(),
            seed: self.seed,
            workers: self.output.workers(),
        };
        let chosen = options.prompts.clone();
        let session = Session::open(tasks, groups, self.data.as_deref(), options)?;
        let directory = crate::hub::resolve(&model_name, None, crate::hub::cache_dir().as_deref())?;
        let destination = self.out.as_ref().map(|out| Destination::prepare(out, &model_name)).transpose()?;
        let judge = self.judge.judge(self.seed, self.server.request_timeout, !self.no_cache)?;
        let model = self.open(&model_name, &directory, session.tasks(), progress)?;
        let chat = chosen.template(&model.tokenizer)?;
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
        let cache = self.cache.clone().or_else(response_folder).filter(|_| !self.no_cache);
        let evaluated = session.evaluate(&model, chat.as_ref(), cache.as_deref(), judge.as_ref(), progress)?;
        for notice in evaluated.notices {
            progress.warn(notice);
        }
        Ok((evaluated.record, destination))
    }

    /// The model under test, on this machine or behind a server.
    fn open(&self, name: &str, directory: &Path, tasks: &[Task], progress: Progress<'_>) -> Result<EvaluatedModel> {
        let facts = ModelFacts {
            name: name.to_owned(),
            pretrained: name.to_owned(),
            adapters: self.adapter.clone(),
            dtype: WeightDtype::from(self.weights).name().to_owned(),
            parameters: None,
            batch_tokens: self.batch_tokens,
            served: true,
        };
        if self.server.backend == BackendName::Local {
            let workers = self.output.workers();
            let local = LocalOptions { batch_tokens: self.batch_tokens, seed: self.seed, workers };
            let opened = open_model(directory, &self.adapter, self.weights.into(), None, local, progress)?;
            return Ok(EvaluatedModel::local(opened, facts));
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
        Ok(EvaluatedModel { model: Box::new(server), tokenizer, identity: Some(identity), facts })
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
