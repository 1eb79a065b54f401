//! An experiment, read and checked: short forms written out, defaults filled in.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::eval::gate::GateConfig;
use crate::recipe::RecipeFile;
use crate::task::{PromptOptions, Role};
use crate::yaml::Node;
use crate::yaml::diagnostic::SourceText;

/// A whole experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Title of the report.
    pub name: String,
    /// The experiment file. Relative paths in it start from its folder.
    pub file: PathBuf,
    /// Its text, which messages quote.
    pub source: Arc<SourceText>,
    /// Model directory or cached repository id that everything starts from.
    pub base_model: String,
    /// Folder of the tasks' data files.
    pub data: Option<PathBuf>,
    /// Seed of training, intervals and tests.
    pub seed: u64,
    /// Specialists in the order of the file.
    pub specialists: IndexMap<String, Specialist>,
    /// Merges in the order of the file.
    pub merges: IndexMap<String, Merge>,
    /// Settings of measuring every row.
    pub evaluation: Evaluation,
    /// Limits on what a row may lose.
    pub gate: GateConfig,
    /// The gate's settings as written, for fingerprints and the report.
    pub gate_settings: Value,
    /// Figures of a paper, shown beside ours.
    pub published: Option<Published>,
}

/// One specialist.
#[derive(Debug, Clone, PartialEq)]
pub struct Specialist {
    /// Names of the sets that it learns from.
    pub learns: Vec<String>,
    pub origin: Origin,
}

/// Origin of a specialist.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// A PEFT adapter that exists.
    Adapter(PathBuf),
    /// Specialist that the experiment trains.
    Trained {
        /// The mix, in the words of a training recipe's `datasets`.
        datasets: Vec<Map<String, Value>>,
        /// All other keys of its training recipe: the experiment's `training`, overridden.
        settings: Map<String, Value>,
        /// Both as they stand in the experiment file, for the reader of training recipes.
        recipe: Node,
    },
}

impl Specialist {
    /// Whether it learns several tasks. What only fills a share of the mix (general instructions, maths) is
    /// no task of its own.
    #[must_use]
    pub fn is_multi_task(&self) -> bool {
        match &self.origin {
            Origin::Adapter(_) => self.learns.len() > 1,
            Origin::Trained { datasets, .. } => {
                datasets.iter().filter(|set| set.get("share").is_none_or(Value::is_null)).count() > 1
            }
        }
    }
}

/// One entry of `merges`: a row of the table, or several.
#[derive(Debug, Clone)]
pub struct Merge {
    /// The recipes, one without a sweep.
    pub candidates: Vec<Candidate>,
    /// Specialists that take part.
    pub specialists: Vec<String>,
    /// Whether the candidate with the best validation score becomes the only row.
    pub select: bool,
    /// Whether the merged model is written to disk.
    pub keep: bool,
}

/// One recipe of a merge.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Name of the row it makes: that of the merge, with what a sweep sets.
    pub name: String,
    /// Swept setting, as it is shown; empty without one.
    pub setting: String,
    /// The merge recipe. Models are named by [`BASE`] and by specialists' names with
    /// [`SPECIALIST`] before them.
    pub recipe: RecipeFile,
    /// The recipe as the experiment writes it, with the same names, for fingerprints.
    pub written: Value,
}

/// Stands for the base model in a [`Candidate`]'s recipe.
pub(crate) const BASE: &str = "$base";
/// Goes before a specialist's name in a [`Candidate`]'s recipe.
pub(crate) const SPECIALIST: &str = "$specialist:";

/// Settings of measuring every row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// Tasks that specialists learn.
    pub seen: Vec<String>,
    /// Tasks that none learns.
    pub unseen: Vec<String>,
    /// Broad checks.
    pub general: Vec<String>,
    /// Protocols instead of the tasks' first ones.
    pub protocols: Vec<String>,
    /// The metric that tables show and selection goes by; each task's first without one.
    pub metric: Option<String>,
    /// Most documents of a task, drawn with the experiment's seed.
    pub limit: Option<usize>,
    /// Most documents of a task's validation split, drawn likewise.
    pub validation_limit: Option<usize>,
    /// How prompts are written.
    pub prompts: PromptOptions,
    /// Storage of the weights in memory: `f32`, `bf16` or `f16`.
    pub weights: String,
}

impl Evaluation {
    /// The named tasks with their roles, seen ones first.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, Role)> {
        let lists = [(&self.seen, Role::Seen), (&self.unseen, Role::Unseen), (&self.general, Role::General)];
        lists.into_iter().flat_map(|(list, role)| list.iter().map(move |name| (name.as_str(), role)))
    }

    /// The settings that decide answers, for fingerprints.
    #[must_use]
    pub fn settings(&self, validation: bool) -> Map<String, Value> {
        let mut map = Map::new();
        let limit = if validation { self.validation_limit } else { self.limit };
        let PromptOptions {
            num_fewshot,
            fewshot_seed,
            sampler,
            chat_template,
            system_instruction,
            fewshot_as_multiturn,
        } = self.prompts.clone();
        for (key, value) in [
            ("protocols", Value::from(self.protocols.clone())),
            ("limit", limit.into()),
            ("num_fewshot", num_fewshot.into()),
            ("fewshot_seed", fewshot_seed.into()),
            ("apply_chat_template", chat_template.into()),
            ("system_instruction", system_instruction.into()),
            ("weights", self.weights.clone().into()),
        ] {
            map.insert(key.to_owned(), value);
        }
        // Left out where they are the defaults, as they were before there were keys for them.
        if let Some(sampler) = sampler {
            map.insert("fewshot_sampler".to_owned(), sampler.name().into());
        }
        if !fewshot_as_multiturn {
            map.insert("fewshot_as_multiturn".to_owned(), false.into());
        }
        map
    }
}

/// A paper's figures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Published {
    pub source: String,
    /// Metric, for example `weighted F1`.
    pub metric: String,
    /// Row name, then task and figure, in the order of the file.
    pub rows: Vec<(String, Vec<(String, f64)>)>,
}
