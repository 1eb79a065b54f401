//! `billon tasks`: what there is to evaluate, and what exactly is asked.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::listing::Listing;
use super::output::{print, print_json};
use super::prompts::PromptArgs;
use crate::error::{Diagnose, ErrorKind, Result};
use crate::eval::scoring::Scorer;
use crate::hub;
use crate::task::spec::JUDGED;
use crate::task::{self, Ask, Documents, PromptSettings, Protocol, Rendered, Role, Task, TaskConfig, TaskSet};
use crate::tokenizer::Tokenizer;
use crate::visible::value as shown;

/// Arguments of `billon tasks`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct TasksArgs {
    #[command(subcommand)]
    command: Option<TasksCommand>,
    /// Tasks, groups, tags, task files or folders of them (default: the built-in suite).
    #[arg(value_name = "NAME|FILE")]
    names: Vec<String>,
    /// Folder of further task files, searched with its sub-folders, whose tasks can then be named.
    #[arg(long, alias = "include_path", value_name = "DIR")]
    include_path: Vec<PathBuf>,
    /// Directory of the data files (default: `BILLON_DATA` in the environment); documents are checked when it is given.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum TasksCommand {
    /// Print the prompt of a document exactly as it is asked.
    Show(ShowArgs),
}

/// Arguments of `billon tasks show`.
#[derive(Debug, Args)]
struct ShowArgs {
    /// A task, or a task file.
    #[arg(value_name = "NAME|FILE")]
    name: String,
    /// The document, counted from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    doc: usize,
    /// Model directory whose tokenizer and chat template are used.
    #[arg(long, value_name = "DIR")]
    model: Option<String>,
    /// Folder of further task files, searched with its sub-folders.
    #[arg(long, alias = "include_path", value_name = "DIR")]
    include_path: Vec<PathBuf>,
    #[command(flatten)]
    prompts: PromptArgs,
    /// Mark blanks, tabs and line ends.
    #[arg(long)]
    whitespace: bool,
    /// Directory of the data files (default: `BILLON_DATA` in the environment).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl TasksArgs {
    pub(super) fn json(&self) -> bool {
        match &self.command {
            Some(TasksCommand::Show(args)) => args.json,
            None => self.json,
        }
    }

    pub(super) fn run(self) -> Result<()> {
        if let Some(TasksCommand::Show(args)) = self.command {
            return args.run();
        }
        let mut names = self.names;
        if names.is_empty() {
            names.extend(["seen", "unseen", "general"].map(str::to_owned));
        }
        let set = task::load_from(&names, &self.include_path)?;
        for config in &set.tasks {
            check_scoring(config)?;
        }
        // Without a data directory the built-in suite is listed as it is; own files know where
        // their data are.
        let data = data_dir(self.data);
        let data = data.as_deref();
        let rows: Vec<Value> = set
            .tasks
            .iter()
            .map(|config| row(config, data, data.is_some() || config.folder.is_some()))
            .collect::<Result<_>>()?;
        if self.json { print_json(&listing_json(&set, rows)) } else { print(&listing(&set, &rows)) }
    }
}

/// The data directory given, else that of the environment.
pub(super) fn data_dir(given: Option<PathBuf>) -> Option<PathBuf> {
    given.or_else(|| std::env::var_os("BILLON_DATA").filter(|v| !v.is_empty()).map(PathBuf::from))
}

/// Checks metrics and filters as an evaluation does before it asks the model.
fn check_scoring(config: &TaskConfig) -> Result<()> {
    let metrics: Vec<_> = config.metrics.iter().filter(|metric| metric.name != JUDGED).cloned().collect();
    Scorer::new(&metrics, &config.filters, None).map(|_| ())
}

/// Describes a task; with `read`, its documents are read and its first prompt is written.
fn row(config: &TaskConfig, data: Option<&Path>, read: bool) -> Result<Value> {
    let mut row = json!({
        "task": config.name,
        "alias": config.alias,
        "file": config.file,
        "role": config.role.map(Role::name),
        "output_type": config.output_type.name(),
        "protocols": config.protocols.iter().map(|p| p.name()).collect::<Vec<_>>(),
        "split": config.evaluation_split(),
        "num_fewshot": config.num_fewshot.unwrap_or(0),
        "metrics": config.metrics.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
        "version": config.version(),
        "documents": null,
        "fewshot_documents": null,
        "warnings": [],
    });
    if read {
        let task = Task::open(config.clone(), data)?;
        let prompts = task.prompts(&PromptSettings::default())?;
        row["documents"] = task.documents().len().into();
        row["fewshot_documents"] = task.fewshot_documents().into();
        row["warnings"] = prompts.warnings.into();
    }
    Ok(row)
}

fn listing_json(set: &TaskSet, rows: Vec<Value>) -> Value {
    let groups: Vec<Value> =
        set.groups.iter().map(|g| json!({"group": g.name, "members": g.members, "tasks": g.tasks})).collect();
    json!({"tasks": rows, "groups": groups, "warnings": set.warnings})
}

fn listing(set: &TaskSet, rows: &[Value]) -> String {
    let mut table = Listing::new(&["task", "role", "type", "documents", "shots", "metrics"], &[3, 4]);
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut warnings = set.warnings.clone();
    for row in rows {
        let metrics: Vec<String> = row["metrics"].as_array().into_iter().flatten().map(text).collect();
        table.row([
            text(&row["task"]),
            text(&row["role"]),
            text(&row["output_type"]),
            text(&row["documents"]),
            text(&row["num_fewshot"]),
            metrics.join(", "),
        ]);
        warnings.extend(row["warnings"].as_array().into_iter().flatten().map(text));
    }
    let mut out = table.render();
    for group in &set.groups {
        let _ = writeln!(out, "group {}: {}", shown(&group.name), shown(&group.members.join(", ")));
    }
    for warning in warnings {
        let _ = writeln!(out, "warning: {}", crate::visible::message(&warning));
    }
    out
}

/// A request that the command line got wrong.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
enum ShowError {
    #[error("`{name}` stands for {count} tasks")]
    Several { name: String, count: usize, names: Vec<String> },
    #[error("task `{task}` has {count} documents, so there is no document {doc}")]
    NoDocument { task: String, count: usize, doc: usize },
    #[error("`--apply-chat-template` needs a model")]
    NoModel,
}

impl Diagnose for ShowError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        vec![match self {
            Self::Several { names, .. } => format!("name one of: {}", names.join(", ")),
            Self::NoDocument { count, .. } => format!("documents count from 0 to {}", count.saturating_sub(1)),
            Self::NoModel => "give its directory: --model DIR".to_owned(),
        }]
    }
}

impl ShowArgs {
    fn run(self) -> Result<()> {
        let set = task::load_from(std::slice::from_ref(&self.name), &self.include_path)?;
        let [config] = set.tasks.as_slice() else {
            let names: Vec<String> = set.tasks.iter().map(|t| t.name.clone()).collect();
            return Err(ShowError::Several { name: self.name, count: names.len(), names }.into());
        };
        let task = Task::open(config.clone(), data_dir(self.data.clone()).as_deref())?;
        let count = task.documents().len();
        if self.doc >= count {
            return Err(ShowError::NoDocument { task: config.name.clone(), count, doc: self.doc }.into());
        }
        let tokenizer = match &self.model {
            Some(model) => {
                let (path, revision) = model.split_once('@').map_or((model.as_str(), None), |(p, r)| (p, Some(r)));
                Some(Tokenizer::open(&hub::resolve(path, revision, hub::cache_dir().as_deref())?)?)
            }
            None => None,
        };
        let options = self.prompts.options();
        let chat = match &tokenizer {
            Some(tokenizer) => options.template(tokenizer)?,
            None if options.chat_template.is_some() => return Err(ShowError::NoModel.into()),
            None => None,
        };
        // Examples depend on how many documents came before, so all of those are rendered too.
        let prompts = task.prompts(&options.settings(Documents::First(self.doc + 1), chat.as_ref()))?;
        let Some(rendered) = prompts.rendered.last() else {
            return Err(ShowError::NoDocument { task: config.name.clone(), count, doc: self.doc }.into());
        };
        let shown = Shown::new(&task, rendered, prompts.num_fewshot, tokenizer.as_ref())?;
        if self.json {
            let mut json = shown.json();
            json["warnings"] = set.warnings.into();
            return print_json(&json);
        }
        let mut text = shown.text(self.whitespace);
        for warning in &set.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        print(&text)
    }
}

/// A choice or continuation, as scored.
struct Scored {
    continuation: String,
    gold: bool,
    tokens: Option<Vec<(u32, String)>>,
}

/// Everything about one document.
struct Shown<'a> {
    task: &'a Task,
    rendered: &'a Rendered,
    num_fewshot: usize,
    /// Context tokens: id and token.
    tokens: Option<Vec<(u32, String)>>,
    scored: Vec<Scored>,
}

impl<'a> Shown<'a> {
    fn new(task: &'a Task, rendered: &'a Rendered, num_fewshot: usize, tokenizer: Option<&Tokenizer>) -> Result<Self> {
        let (context, continuations): (&str, Vec<(&str, bool)>) = match &rendered.ask {
            Ask::Choices { continuations, gold, .. } => {
                let marked = continuations.iter().enumerate().map(|(i, c)| (c.as_str(), gold.contains(&i)));
                (&rendered.context, marked.collect())
            }
            Ask::Continuation { continuation } => (&rendered.context, vec![(continuation, true)]),
            Ask::Rolling { text } => ("", vec![(text, true)]),
            Ask::Generate { .. } => (&rendered.context, Vec::new()),
        };
        let mut tokens = None;
        let mut scored = Vec::new();
        for (place, (continuation, gold)) in continuations.into_iter().enumerate() {
            let pair = match tokenizer {
                Some(tokenizer) => {
                    let context = match &rendered.ask {
                        Ask::Choices { contexts, .. } => contexts.get(place).map_or(context, String::as_str),
                        _ => context,
                    };
                    Some((tokenizer, tokenizer.encode_pair(context, continuation)?))
                }
                None => None,
            };
            let own = pair.map(|(tokenizer, pair)| {
                tokens.get_or_insert_with(|| named(tokenizer, &pair.context));
                named(tokenizer, &pair.continuation)
            });
            scored.push(Scored { continuation: continuation.to_owned(), gold, tokens: own });
        }
        if let (Some(tokenizer), None) = (tokenizer, &tokens) {
            tokens = Some(named(tokenizer, &tokenizer.encode_prompt(context)?));
        }
        Ok(Self { task, rendered, num_fewshot, tokens, scored })
    }

    fn json(&self) -> Value {
        let tokens = |tokens: &Option<Vec<(u32, String)>>| {
            let (ids, texts): (Vec<u32>, Vec<&str>) =
                tokens.as_ref()?.iter().map(|(id, text)| (*id, text.as_str())).unzip();
            Some(json!({"ids": ids, "tokens": texts}))
        };
        let messages: Vec<Value> =
            self.rendered.messages.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
        let continuations: Vec<Value> = self
            .scored
            .iter()
            .map(|s| json!({"text": s.continuation, "gold": s.gold, "tokens": tokens(&s.tokens)}))
            .collect();
        let generation = match &self.rendered.ask {
            Ask::Generate { arguments, references, .. } => {
                json!({"arguments": arguments.raw, "references": references})
            }
            _ => Value::Null,
        };
        json!({
            "task": self.task.config().name,
            "doc_id": self.rendered.doc_id,
            "doc": self.rendered.doc,
            "num_fewshot": self.num_fewshot,
            "target": self.rendered.target,
            "context": self.rendered.context,
            "context_tokens": tokens(&self.tokens),
            "messages": messages,
            "continuations": continuations,
            "generation": generation,
        })
    }

    fn text(&self, whitespace: bool) -> String {
        let visible = |text: &str| if whitespace { mark(text) } else { text.to_owned() };
        let config = self.task.config();
        let mut out = String::new();
        let _ = writeln!(
            out,
            "task {} ({}), document {} of {}, {} shots",
            shown(&config.name),
            config.output_type.name(),
            self.rendered.doc_id,
            self.task.documents().len(),
            self.num_fewshot
        );
        let contexts = match &self.rendered.ask {
            Ask::Choices { contexts, .. } if contexts.len() > 1 => contexts.clone(),
            Ask::Rolling { .. } => Vec::new(),
            _ => vec![self.rendered.context.clone()],
        };
        for context in contexts {
            let _ = writeln!(out, "--- prompt ---\n{}\n--- end of prompt ---", visible(&context));
        }
        if let Some(tokens) = &self.tokens {
            let _ = writeln!(out, "{} tokens: {}", tokens.len(), listed(tokens));
        }
        for scored in &self.scored {
            let marker = if scored.gold { "*" } else { " " };
            let _ = write!(out, "{marker} {:?}", scored.continuation);
            if let Some(tokens) = &scored.tokens {
                let _ = write!(out, "  {}", listed(tokens));
            }
            out.push('\n');
        }
        if let Ask::Generate { arguments, references, .. } = &self.rendered.ask {
            let _ = writeln!(
                out,
                "generates up to {} tokens, until {:?}, temperature {}",
                arguments.max_tokens, arguments.until, arguments.temperature
            );
            for reference in references {
                let _ = writeln!(out, "* {reference:?}");
            }
        }
        let others: Vec<&str> =
            config.protocols.iter().filter(|p| **p != Protocol::ChoiceLl).map(|p| p.name()).collect();
        if let (Some(Ask::Generate { arguments, .. }), false) =
            (self.task.generation_ask(self.rendered), others.is_empty())
        {
            let _ = writeln!(out, "{}: the same prompt, {} new tokens", others.join(", "), arguments.max_tokens);
        }
        out
    }
}

fn named(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<(u32, String)> {
    ids.iter().map(|id| (*id, tokenizer.token(*id).unwrap_or_else(String::new))).collect()
}

fn listed(tokens: &[(u32, String)]) -> String {
    tokens.iter().map(|(id, token)| format!("{id}:{}", shown(token))).collect::<Vec<_>>().join(" ")
}

/// Blanks as `·`, tabs as `→`, line ends as `¶`.
fn mark(text: &str) -> String {
    text.replace(' ', "·").replace('\t', "→").replace('\n', "¶\n")
}
