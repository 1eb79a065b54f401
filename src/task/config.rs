//! A task as its file describes it.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value};

use super::spec::{FilterPipeline, MetricSpec};

/// Kind of request to the model (`output_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// The log-probability of one continuation.
    Loglikelihood,
    /// The log-probability of a whole text.
    LoglikelihoodRolling,
    /// Free text.
    GenerateUntil,
    /// The log-probabilities of several choices.
    MultipleChoice,
}

impl OutputType {
    /// The name in task files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loglikelihood => "loglikelihood",
            Self::LoglikelihoodRolling => "loglikelihood_rolling",
            Self::GenerateUntil => "generate_until",
            Self::MultipleChoice => "multiple_choice",
        }
    }

    /// The metrics of a task file without `metric_list`.
    #[must_use]
    pub fn default_metrics(self) -> &'static [&'static str] {
        match self {
            Self::Loglikelihood => &["perplexity", "acc"],
            Self::LoglikelihoodRolling => &["word_perplexity", "byte_perplexity", "bits_per_byte"],
            Self::GenerateUntil => &["exact_match"],
            Self::MultipleChoice => &["acc", "acc_norm"],
        }
    }
}

/// Role of the task when a specialist is judged (`metadata.role`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Trained on.
    Seen,
    /// Financial, but not trained on.
    Unseen,
    /// Beyond finance, or general ability.
    General,
}

impl Role {
    /// The name in task files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Unseen => "unseen",
            Self::General => "general",
        }
    }
}

/// Protocols of obtaining and reading the answers of a classification task (`metadata.protocols`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The choice with the highest log-probability.
    ChoiceLl,
    /// PIXIU's: greedy text, the first label that occurs in it.
    PixiuGen,
    /// Greedy text that names exactly one label as a whole word.
    StrictGen,
}

impl Protocol {
    /// The name in task files and in the results' filter slot.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ChoiceLl => "choice-ll",
            Self::PixiuGen => "pixiu-gen",
            Self::StrictGen => "strict-gen",
        }
    }
}

/// A `doc_to_*` key.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// A template, or the name of a column.
    Template(String),
    /// A number.
    Integer(i64),
    /// A list; a mapping counts as its values.
    List(Vec<Value>),
}

/// The format of the data files (`dataset_path`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataFormat {
    /// JSON lines, or one JSON array.
    Json,
    /// Comma-separated values with a header.
    Csv,
    Parquet,
}

/// Choice of few-shot examples (`fewshot_config.sampler`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// At random, as the harness does.
    Default,
    /// The first ones.
    FirstN,
    /// At random with equal shares of all labels; ours.
    Balanced,
}

impl Sampler {
    /// Names in files and on the command line.
    pub const NAMES: [&'static str; 3] = ["default", "first_n", "balanced"];

    /// The sampler of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Default, Self::FirstN, Self::Balanced].into_iter().find(|sampler| sampler.name() == name)
    }

    /// Word of task files.
    #[must_use]
    pub fn name(self) -> &'static str {
        let [default, first_n, balanced] = Self::NAMES;
        match self {
            Self::Default => default,
            Self::FirstN => first_n,
            Self::Balanced => balanced,
        }
    }
}

/// `fewshot_config`, with what it inherits from the task filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct FewShotConfig {
    pub sampler: Sampler,
    /// The split they come from.
    pub split: Option<String>,
    /// Examples written in the file; a split wins over them.
    pub samples: Option<Vec<Map<String, Value>>>,
    /// Places of the pool in its split.
    pub indices: Option<Vec<usize>>,
    /// Question of an example.
    pub doc_to_text: Option<Field>,
    /// Answer of an example.
    pub doc_to_target: Option<Field>,
    /// Choices of an example.
    pub doc_to_choice: Option<Field>,
    /// Beginning of an example's answer.
    pub gen_prefix: Option<String>,
    /// Between question and answer.
    pub target_delimiter: String,
    /// After an example.
    pub fewshot_delimiter: String,
}

/// One task, all keys resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskConfig {
    /// `task`.
    pub name: String,
    /// `task_alias`.
    pub alias: Option<String>,
    pub tags: Vec<String>,
    /// The file it was read from, as shown to people; built-in ones are `<built in>/fpb.yaml`.
    pub file: String,
    /// The folder of that file; none for built-in tasks.
    pub folder: Option<PathBuf>,
    pub output_type: OutputType,
    /// Format of the data files.
    pub format: DataFormat,
    /// Data files by split, in order.
    pub data_files: IndexMap<String, Vec<String>>,
    pub training_split: Option<String>,
    pub validation_split: Option<String>,
    pub test_split: Option<String>,
    /// Question of a document.
    pub doc_to_text: Field,
    /// Answer of a document.
    pub doc_to_target: Field,
    /// Choices of a document.
    pub doc_to_choice: Option<Field>,
    /// Put in front of everything.
    pub description: String,
    /// Between question and answer.
    pub target_delimiter: String,
    /// Between examples.
    pub fewshot_delimiter: String,
    /// Beginning of the answer.
    pub gen_prefix: Option<String>,
    pub num_fewshot: Option<usize>,
    /// Number of times that each request is made.
    pub repeats: usize,
    /// Few-shot examples.
    pub fewshot: FewShotConfig,
    /// `generation_kwargs` with the harness's defaults; only for `generate_until`.
    pub generation_kwargs: Option<Map<String, Value>>,
    /// Named filter pipelines; empty stands for `none`, which takes the first answer.
    pub filters: Vec<FilterPipeline>,
    /// `metric_list`, or the defaults of the output type.
    pub metrics: Vec<MetricSpec>,
    pub metadata: Map<String, Value>,
    /// `metadata.role`.
    pub role: Option<Role>,
    /// `metadata.protocols`; `choice-ll` alone where the file says nothing of a choice task, empty
    /// for other tasks.
    pub protocols: Vec<Protocol>,
    /// All keys of the file with includes and overrides, as JSON: the results' `configs` entry.
    pub raw: Map<String, Value>,
}

impl TaskConfig {
    /// `metadata.version`, as the results' `versions` entry.
    #[must_use]
    pub fn version(&self) -> Option<&Value> {
        self.metadata.get("version")
    }

    /// The split that is evaluated: test, else validation.
    #[must_use]
    pub fn evaluation_split(&self) -> Option<&str> {
        self.test_split.as_deref().or(self.validation_split.as_deref())
    }
}
