//! The top level of an experiment file.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::reader::{Entry, Reader};
use crate::error::Result;
use crate::experiment::error::ExperimentError;
use crate::experiment::schema::{Evaluation, Experiment, Published};
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{self, Diagnostics, Field, Fields, Kind, Node, Span};

const KEYS: &[&str] =
    &["name", "base_model", "data", "seed", "training", "specialists", "merges", "evaluation", "gate", "published"];
/// Most bytes of a row's name: the hidden `.evaluate-NAME.json.billon-PID-N` has to be a file's name, too.
const MOST_NAME_BYTES: usize = 190;
const PUBLISHED_KEYS: &[&str] = &["source", "metric", "rows"];

/// Reads an experiment file.
///
/// # Errors
/// The file can't be read, or everything that is wrong with it, each with its place.
pub fn load(path: &Path) -> Result<Experiment> {
    let text = crate::storage::input::read_text(path, crate::storage::input::TEXT_BYTES)
        .map_err(|source| ExperimentError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

impl Experiment {
    /// Reads an experiment file.
    ///
    /// # Errors
    /// The file can't be read, or everything that is wrong with it, each with its place.
    pub fn open(path: &Path) -> Result<Self> {
        load(path)
    }
}

/// Reads the text of an experiment file that stands at `path`.
///
/// # Errors
/// Everything that is wrong with it, each with its place; a merge recipe or gate file that it names
/// and that can't be read.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Experiment> {
    let source = Arc::new(SourceText { name: path.display().to_string(), text: text.to_owned() });
    let mut diagnostics = Diagnostics::new(Arc::clone(&source), false);
    let documents = yaml::parse(text, &mut diagnostics);
    diagnostics.check()?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut reader = Reader { diagnostics, source, other_files: Vec::new(), folder };
    let experiment = match documents.as_slice() {
        [root] => reader.experiment(path, root)?,
        [] => {
            reader.diagnostics.error(None, "the experiment is empty");
            None
        }
        [_, second, ..] => {
            reader.diagnostics.error(second.span, "an experiment file holds one document");
            None
        }
    };
    reader.diagnostics.check()?;
    for file in &reader.other_files {
        file.check()?;
    }
    experiment.ok_or_else(|| ExperimentError::Empty { path: path.to_owned() }.into())
}

impl Reader {
    fn experiment(&mut self, path: &Path, root: &Node) -> Result<Option<Experiment>> {
        let fields = Fields::of_optional(root, "the experiment", &mut self.diagnostics);
        fields.known("key", KEYS, &mut self.diagnostics);
        let base_model: Option<String> = fields.required("base_model", &mut self.diagnostics);
        let base_model = base_model.map_or_else(String::new, |name| self.model(&name));
        let seed = fields.get("seed").and_then(|field| field.read(&mut self.diagnostics)).unwrap_or(42);
        let training = fields.get("training").map_or_else(Vec::new, |field| self.settings(field));
        let specialists = fields.get("specialists");
        let specialists = specialists.map_or_else(IndexMap::new, |field| self.specialists(field.node, &training));
        let merges = match fields.get("merges") {
            Some(field) => self.merges(field.node, &specialists)?,
            None => IndexMap::new(),
        };
        self.distinct_rows(fields, &specialists, &merges);
        let evaluation = match fields.get("evaluation") {
            Some(field) => self.evaluation(field.node, &specialists),
            None => Evaluation { weights: "f32".to_owned(), ..Evaluation::default() },
        };
        let evaluation = super::evaluation::with_seen_tasks(evaluation, &specialists);
        if evaluation.tasks().next().is_none() {
            self.diagnostics.error_help(
                root.span,
                "there is nothing to evaluate",
                "list tasks under `evaluation`, as `seen`, `unseen` or `general`",
            );
        }
        let own = fields.given("gate");
        let (gate, gate_settings) = self.gate(own.map(|field| field.node), &evaluation, seed)?;
        // The default rule fits every task, and tasks take time to load.
        if own.is_some() && !self.diagnostics.has_errors() {
            self.check_gate(&gate, &evaluation, &specialists, &merges);
        }
        let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let data: Option<String> = fields.get("data").and_then(|field| field.read(&mut self.diagnostics));
        Ok(Some(Experiment {
            name: fields.get("name").and_then(|field| field.read(&mut self.diagnostics)).unwrap_or(stem),
            file: path.to_owned(),
            source: Arc::clone(&self.source),
            base_model,
            data: data.map(|data| self.beside(&data)),
            seed,
            specialists,
            merges,
            evaluation,
            gate,
            gate_settings,
            published: fields.get("published").map(|field| self.published(field.node)),
        }))
    }

    /// The base model: a folder beside the file, else as it is written.
    fn model(&self, name: &str) -> String {
        let beside = self.beside(name);
        if beside.is_dir() { beside.display().to_string() } else { name.to_owned() }
    }

    /// A table row is found by its name, so no two may share one.
    fn distinct_rows(
        &mut self,
        fields: Fields<'_>,
        specialists: &IndexMap<String, crate::experiment::schema::Specialist>,
        merges: &IndexMap<String, crate::experiment::schema::Merge>,
    ) {
        let place =
            |key: &str, name: &str| -> Option<Span> { Some(Fields::within(fields.get(key)?.node).get(name)?.key) };
        for name in merges.keys() {
            if specialists.contains_key(name) {
                let message = format!("`{name}` is the name of a specialist and of a merge");
                self.diagnostics.error(place("merges", name), message);
            }
        }
        for (key, name) in specialists.keys().map(|n| ("specialists", n)).chain(merges.keys().map(|n| ("merges", n))) {
            let span = place(key, name);
            if name == "base" {
                self.diagnostics.error(span, "`base` is the name of the base model's row");
            }
            let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            // A sweep's rows have their settings in their names.
            let rows = merges.get(name).into_iter().flat_map(|merge| &merge.candidates).map(|row| row.name.as_str());
            let long = rows.chain([name.as_str()]).find(|row| row.len() > MOST_NAME_BYTES);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
                let help = "names become file names: use letters, digits, `-`, `_` and `.`";
                self.diagnostics.error_help(span, format!("`{}` is no name for a row", name.escape_debug()), help);
            } else if let Some(row) = long {
                let message = format!("`{row}` is too long for a row's name: {} characters", row.len());
                self.diagnostics.error_help(
                    span,
                    message,
                    format!("names become file names: at most {MOST_NAME_BYTES}"),
                );
            }
        }
    }

    fn published(&mut self, node: &Node) -> Published {
        let mut published = Published::default();
        let diagnostics = &mut self.diagnostics;
        let fields = Fields::of_optional(node, "`published`", diagnostics).known("key", PUBLISHED_KEYS, diagnostics);
        for field in fields.iter() {
            match field.name {
                "source" => published.source = field.read(diagnostics).unwrap_or_else(String::new),
                "metric" => published.metric = field.read(diagnostics).unwrap_or_else(String::new),
                "rows" => {
                    for row in Fields::of_optional(field.node, "`rows`", diagnostics).iter() {
                        let figures = Fields::of_optional(row.node, "a row", diagnostics).iter();
                        let figures = figures.filter_map(|f| Some((f.name.to_owned(), f.read(diagnostics)?)));
                        published.rows.push((row.name.to_owned(), figures.collect()));
                    }
                }
                _ => {}
            }
        }
        published
    }

    /// The entries of a mapping that another reader will check.
    fn settings(&mut self, field: Field<'_>) -> Vec<Entry> {
        match &field.node.kind {
            Kind::Mapping(entries) => entries.clone(),
            Kind::Null => Vec::new(),
            _ => {
                field.expected("a mapping", &mut self.diagnostics);
                Vec::new()
            }
        }
    }
}
