//! The steps of an experiment and their dependencies.
//!
//! Steps stand in an order in which they can run; the order is that of the file, so it is the same
//! every time.

use serde_json::{Map, Value, json};

use super::row_gate::Training;
use super::schema::{Candidate, Experiment, Merge, Origin, Published, Specialist};
use super::tasks::{self, RoleTask};
use super::training;
use super::value::canonical;
use crate::error::Result;
use crate::hub;
use crate::train::inputs;
use crate::yaml::Node;

pub(crate) use crate::train::inputs::Input;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// The base model as it is.
    Base,
    /// Specialist of this name.
    Specialist(String),
    /// A merge with one of its recipes.
    Merge {
        /// Name in the file.
        merge: String,
        /// Number of the recipe; `None` is the one that validation selects.
        candidate: Option<usize>,
    },
}

/// Action of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Trains a specialist.
    Train(String),
    /// Scores a row on all tasks.
    Evaluate(Row),
    /// Scores a recipe of a merge on the validation splits of the seen tasks.
    Validate {
        merge: String,
        /// Number of the recipe.
        candidate: usize,
    },
    /// Picks the recipe with the best validation score.
    Select(String),
    /// Writes a merged model to disk.
    Merge(Row),
    /// Decides whether a row lost what it must not.
    Gate(Row),
    /// Norms and cosines of the specialists' task vectors.
    TaskVectors,
    /// Writes the report.
    Report,
}

impl Action {
    /// Name of the kind of step.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Train(_) => "train",
            Self::Evaluate(_) => "evaluate",
            Self::Validate { .. } => "validate",
            Self::Select(_) => "select",
            Self::Merge(_) => "merge",
            Self::Gate(_) => "gate",
            Self::TaskVectors => "task-vectors",
            Self::Report => "report",
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Name: kind and subject.
    pub name: String,
    pub action: Action,
    /// Names of the steps that come before it.
    pub needs: Vec<String>,
    /// Settings that the fingerprint covers.
    pub settings: Map<String, Value>,
    /// Files it reads that no step makes.
    pub inputs: Vec<Input>,
}

/// All steps, each after those that it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// In the order of their run.
    pub steps: Vec<Step>,
    /// The rows of the table with their names, in order.
    pub rows: Vec<(String, Row)>,
}

impl Graph {
    /// The steps of an experiment. Models and data need not exist yet: what is missing is noted in the
    /// inputs.
    ///
    /// # Errors
    /// A task that can't be loaded, or lacks the split that it is selected on.
    pub fn new(experiment: &Experiment) -> Result<Self> {
        let tasks = tasks::load(&experiment.evaluation)?;
        let maker = Maker { experiment, base: base_files(&experiment.base_model), tasks: &tasks };
        maker.graph()
    }

    /// The step of a name.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Name in tables and files.
    #[must_use]
    pub fn row_name(&self, row: &Row) -> &str {
        self.rows.iter().find(|(_, known)| known == row).map_or("", |(name, _)| name)
    }
}

struct Maker<'a> {
    experiment: &'a Experiment,
    base: Vec<Input>,
    tasks: &'a [RoleTask],
}

impl Maker<'_> {
    fn graph(&self) -> Result<Graph> {
        let mut steps = Vec::new();
        let mut rows = vec![("base".to_owned(), Row::Base)];
        steps.push(self.evaluate("base", Row::Base, Map::new(), Vec::new(), Vec::new())?);
        for (name, specialist) in &self.experiment.specialists {
            let mut needs = Vec::new();
            if let Origin::Trained { datasets, settings, recipe } = &specialist.origin {
                steps.push(self.train(name, datasets, settings, recipe));
                needs.push(format!("train {name}"));
            }
            let row = Row::Specialist(name.clone());
            let subject = Map::from_iter([("specialist".to_owned(), name.as_str().into())]);
            steps.push(self.evaluate(name, row.clone(), subject, needs, adapter_files(name, specialist))?);
            rows.push((name.clone(), row));
        }
        if !self.experiment.specialists.is_empty() {
            let names: Vec<String> = self.experiment.specialists.keys().cloned().collect();
            steps.push(Step {
                name: "task-vectors".to_owned(),
                action: Action::TaskVectors,
                needs: self.training(&names),
                settings: Map::from_iter([("specialists".to_owned(), names.clone().into())]),
                inputs: self.adapters(&names),
            });
        }
        for (name, merge) in &self.experiment.merges {
            self.merge(name, merge, &mut steps, &mut rows)?;
        }
        self.gates(&rows, &mut steps)?;
        steps.push(self.report(&steps));
        Ok(Graph { steps, rows })
    }

    fn train(&self, name: &str, datasets: &[Map<String, Value>], settings: &Map<String, Value>, recipe: &Node) -> Step {
        let mut all = settings.clone();
        all.entry("seed").or_insert_with(|| self.experiment.seed.into());
        all.insert("datasets".to_owned(), datasets.iter().cloned().map(Value::Object).collect());
        let mut inputs = self.base.clone();
        // Faults of the recipe are reported before anything runs; until then it reads nothing.
        let recipe = training::recipe(recipe, self.experiment);
        let sources = recipe
            .and_then(|(recipe, _)| training::sources(&recipe, self.experiment))
            .unwrap_or_else(|_| training::Sources::default());
        inputs.extend(sources.files);
        for (key, tasks) in [("task", sources.trained), ("evaluation_task", sources.evaluated)] {
            for (name, settings) in tasks {
                all.insert(format!("{key}.{name}"), settings);
            }
        }
        Step {
            name: format!("train {name}"),
            action: Action::Train(name.to_owned()),
            needs: Vec::new(),
            settings: all,
            inputs,
        }
    }

    /// Settings and inputs of a step that asks tasks.
    fn asking(&self, validation: bool, subject: Map<String, Value>) -> Result<(Map<String, Value>, Vec<Input>)> {
        let evaluation = &self.experiment.evaluation;
        let mut settings = evaluation.settings(validation);
        let mut inputs = self.base.clone();
        let (mut asked, mut roles) = (Map::new(), Map::new());
        for task in self.tasks.iter().filter(|task| !validation || task.role == crate::task::Role::Seen) {
            let config = if validation { tasks::validation(&task.config)? } else { task.config.clone() };
            let data = self.experiment.data.as_deref();
            inputs::split_files(&config, config.evaluation_split(), data, &mut inputs);
            inputs::split_files(
                &config,
                inputs::shown_split(&config, evaluation.prompts.num_fewshot),
                data,
                &mut inputs,
            );
            asked.insert(config.name.clone(), tasks::settings(&config));
            roles.insert(config.name.clone(), task.role.name().into());
        }
        settings.insert("tasks".to_owned(), asked.into());
        settings.insert("roles".to_owned(), roles.into());
        settings.insert("seed".to_owned(), self.experiment.seed.into());
        settings.insert("metric".to_owned(), evaluation.metric.clone().into());
        settings.extend(subject);
        Ok((settings, inputs))
    }

    fn evaluate(
        &self,
        name: &str,
        row: Row,
        subject: Map<String, Value>,
        needs: Vec<String>,
        more: Vec<Input>,
    ) -> Result<Step> {
        let (settings, mut inputs) = self.asking(false, subject)?;
        inputs.extend(more);
        Ok(Step { name: format!("evaluate {name}"), action: Action::Evaluate(row), needs, settings, inputs })
    }

    fn merge(&self, name: &str, merge: &Merge, steps: &mut Vec<Step>, rows: &mut Vec<(String, Row)>) -> Result<()> {
        let subject = |candidate: &Candidate| {
            Map::from_iter([
                ("recipe".to_owned(), candidate.written.clone()),
                ("merge_seed".to_owned(), self.experiment.seed.into()),
            ])
        };
        if !merge.select {
            for (index, candidate) in merge.candidates.iter().enumerate() {
                let row = Row::Merge { merge: name.to_owned(), candidate: Some(index) };
                let needs = self.training(&merge.specialists);
                self.merged_row(&candidate.name, row, merge, subject(candidate), needs, steps, rows)?;
            }
            return Ok(());
        }
        let mut candidates = Vec::new();
        for (index, candidate) in merge.candidates.iter().enumerate() {
            let (settings, mut inputs) = self.asking(true, subject(candidate))?;
            inputs.extend(self.adapters(&merge.specialists));
            let step = Step {
                name: format!("validate {}", candidate.name),
                action: Action::Validate { merge: name.to_owned(), candidate: index },
                needs: self.training(&merge.specialists),
                settings,
                inputs,
            };
            candidates.push(step.name.clone());
            steps.push(step);
        }
        steps.push(Step {
            name: format!("select {name}"),
            action: Action::Select(name.to_owned()),
            needs: candidates,
            settings: Map::new(),
            inputs: Vec::new(),
        });
        let row = Row::Merge { merge: name.to_owned(), candidate: None };
        let needs = vec![format!("select {name}")];
        self.merged_row(name, row, merge, Map::new(), needs, steps, rows)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a row, each used once")]
    fn merged_row(
        &self,
        name: &str,
        row: Row,
        merge: &Merge,
        subject: Map<String, Value>,
        mut needs: Vec<String>,
        steps: &mut Vec<Step>,
        rows: &mut Vec<(String, Row)>,
    ) -> Result<()> {
        let adapters = self.adapters(&merge.specialists);
        if merge.keep {
            let inputs = self.base.iter().cloned().chain(adapters.clone()).collect();
            let (action, settings) = (Action::Merge(row.clone()), subject.clone());
            let step = Step { name: format!("merge {name}"), action, needs, settings, inputs };
            needs = vec![step.name.clone()];
            steps.push(step);
        }
        steps.push(self.evaluate(name, row.clone(), subject, needs, adapters)?);
        rows.push((name.to_owned(), row));
        Ok(())
    }

    /// One gate a row, where the gate has anything to judge.
    fn gates(&self, rows: &[(String, Row)], steps: &mut Vec<Step>) -> Result<()> {
        let nothing = self.experiment.gate.only.is_empty() && self.experiment.gate_settings.get("only").is_some();
        let training = Training::new(&self.experiment.evaluation, &self.experiment.specialists)?;
        for (name, row) in rows.iter().filter(|(_, row)| *row != Row::Base && !nothing) {
            let mut settings = Map::new();
            settings.insert("gate".to_owned(), self.experiment.gate_settings.clone());
            settings.insert("only".to_owned(), self.experiment.gate.only.clone().into());
            // What is unseen to a row, and so how it is judged, depends on this.
            let trained_on: Vec<String> = training.of_row(row, &self.experiment.merges).into_iter().collect();
            settings.insert("trained_on".to_owned(), trained_on.into());
            steps.push(Step {
                name: format!("gate {name}"),
                action: Action::Gate(row.clone()),
                needs: vec!["evaluate base".to_owned(), format!("evaluate {name}")],
                settings,
                inputs: Vec::new(),
            });
        }
        Ok(())
    }

    fn report(&self, steps: &[Step]) -> Step {
        let published = self.experiment.published.as_ref().map(|published| {
            let Published { source, metric, rows } = published;
            json!({"source": source, "metric": metric, "rows": rows})
        });
        let settings = Map::from_iter([
            ("name".to_owned(), self.experiment.name.as_str().into()),
            ("published".to_owned(), published.into()),
        ]);
        Step {
            name: "report".to_owned(),
            action: Action::Report,
            needs: steps.iter().map(|step| step.name.clone()).collect(),
            settings,
            inputs: Vec::new(),
        }
    }

    fn training(&self, specialists: &[String]) -> Vec<String> {
        let trained = |name: &&String| {
            self.experiment.specialists.get(*name).is_some_and(|s| matches!(s.origin, Origin::Trained { .. }))
        };
        specialists.iter().filter(trained).map(|name| format!("train {name}")).collect()
    }

    fn adapters(&self, specialists: &[String]) -> Vec<Input> {
        let of = |name: &String| self.experiment.specialists.get(name).map(|s| adapter_files(name, s));
        specialists.iter().filter_map(of).flatten().collect()
    }
}

/// The files of the base model that decide what it computes and how texts become tokens.
fn base_files(reference: &str) -> Vec<Input> {
    let found = hub::resolve(reference, None, hub::cache_dir().as_deref());
    let files = found.ok().map(|folder| inputs::base_files(&folder));
    let missing = || vec![Input { label: format!("base model `{reference}`"), path: None }];
    files.filter(|files| !files.is_empty()).unwrap_or_else(missing)
}

fn adapter_files(name: &str, specialist: &Specialist) -> Vec<Input> {
    let Origin::Adapter(folder) = &specialist.origin else { return Vec::new() };
    inputs::model_files(folder, name)
}

/// Settings as leaves with dotted names, so that a change can be named.
#[must_use]
pub(crate) fn leaves(settings: &Map<String, Value>) -> Vec<(String, String)> {
    fn walk(name: &str, value: &Value, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    walk(&if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, value, found);
                }
            }
            other => found.push((name.to_owned(), canonical(other))),
        }
    }
    let mut found = Vec::new();
    settings.iter().for_each(|(key, value)| walk(key, value, &mut found));
    found
}
