//! Record of a run, before it becomes files.

use serde_json::{Map, Value};

use crate::eval::outcome::Outcome;
use crate::eval::scoring::{MetricScore, TaskScores};

/// A whole run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunRecord {
    /// The model's name: a directory or a repository. Names the folder of the files.
    pub model_name: String,
    /// `billon`, or the kind of server that was asked.
    pub model_source: String,
    /// Settings that the model was opened with; the harness's `model_args`.
    pub model_args: Map<String, Value>,
    /// More keys of the harness's `config`: `model_num_parameters`, `model_dtype`, `batch_size`, `device`,
    /// `limit`, `gen_kwargs`, ...
    pub config: Map<String, Value>,
    /// More keys of the top level: `tokenizer_pad_token` and its kin as `[text, id]`, `eot_token_id`,
    /// `max_length`, ...
    pub environment: Map<String, Value>,
    /// SHA-256 of the weights, adapters included.
    pub weights_hash: Option<String>,
    /// SHA-256 of the tokenizer.
    pub tokenizer_hash: Option<String>,
    /// The chat template's text, where one was applied.
    pub chat_template: Option<String>,
    pub system_instruction: Option<String>,
    /// Whether shots were turns of the conversation; `None` without a template.
    pub fewshot_as_multiturn: Option<bool>,
    /// Seed of the few-shot sampler.
    pub fewshot_seed: u64,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Seconds since 1970 at the start.
    pub started: f64,
    /// Seconds the evaluation took.
    pub elapsed: f64,
    /// Tasks in the order of the table.
    pub tasks: Vec<TaskRecord>,
    /// Groups, inner ones before outer ones.
    pub groups: Vec<GroupRecord>,
}

/// One task of a run.
#[derive(Debug, Clone)]
pub(crate) struct TaskRecord {
    pub name: String,
    /// `task_alias`.
    pub alias: Option<String>,
    /// `metadata.version`.
    pub version: Value,
    /// Shots in every prompt.
    pub num_fewshot: usize,
    /// The task file's keys, with `output_type`.
    pub config: Map<String, Value>,
    /// `seen`, `unseen` or `general`.
    pub role: Option<String>,
    /// Documents of the split before `--limit`.
    pub documents: usize,
    /// Prompts that were cut to the model's length.
    pub truncated: usize,
    /// Further warnings with their counts; those of the scores are added.
    pub warnings: std::collections::BTreeMap<String, usize>,
    /// One entry a protocol; a task without labels has one, without a name.
    pub runs: Vec<TaskRun>,
    /// Metrics that could not be scored, and why.
    pub not_scored: Vec<String>,
    /// Tokens and cost of the judge, where one was asked.
    pub judge: Option<Value>,
}

/// A task read with one protocol.
#[derive(Debug, Clone)]
pub(crate) struct TaskRun {
    /// The protocol's name.
    pub protocol: Option<String>,
    pub scores: TaskScores,
    /// One entry a document, in the order of the scores.
    pub samples: Vec<SampleRecord>,
}

impl TaskRecord {
    /// The numbers of all protocols.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &MetricScore> {
        self.runs.iter().flat_map(|run| &run.scores.metrics)
    }

    /// Everything worth knowing about the scores, in sentences.
    #[must_use]
    pub(crate) fn notices(&self) -> Vec<String> {
        let scored = self.runs.iter().flat_map(|run| &run.scores.warnings);
        let mut notices: Vec<String> = Vec::new();
        for (text, count) in self.warnings.iter().chain(scored) {
            let times = if *count > 1 { format!(" ({count} documents)") } else { String::new() };
            let name = if text.starts_with("task `") { String::new() } else { format!("task `{}`: ", self.name) };
            notices.push(format!("{name}{text}{times}"));
        }
        if self.truncated > 0 {
            notices.push(format!("task `{}`: {} prompts were cut to the model's length", self.name, self.truncated));
        }
        notices
    }

    /// Documents that were evaluated.
    #[must_use]
    pub(crate) fn evaluated(&self) -> usize {
        self.runs.first().map_or(0, |run| run.samples.len())
    }
}

/// One document of a task.
#[derive(Debug, Clone)]
pub(crate) struct SampleRecord {
    /// Number in the split.
    pub doc_id: usize,
    /// The document.
    pub doc: Value,
    /// Target that the task file rendered: a text, an index or a list.
    pub target: Value,
    /// Prompt and continuation (or generation arguments) of every request, in order.
    pub arguments: Vec<(String, Value)>,
    /// The answer.
    pub outcome: Outcome,
}

/// A group of tasks with a mean.
#[derive(Debug, Clone)]
pub(crate) struct GroupRecord {
    pub name: String,
    /// `group_alias`.
    pub alias: Option<String>,
    /// `metadata.version`.
    pub version: Value,
    /// Names of its tasks and groups.
    pub children: Vec<String>,
    /// Names of all tasks below it.
    pub tasks: Vec<String>,
    /// `aggregate_metric_list`.
    pub metrics: Vec<GroupMetric>,
}

/// One entry of `aggregate_metric_list`.
#[derive(Debug, Clone)]
pub(crate) struct GroupMetric {
    /// Metric name.
    pub metric: String,
    /// Weighted by documents, or plain.
    pub weight_by_size: bool,
    /// Slots; `None` takes all that occur.
    pub slots: Option<Vec<String>>,
}
