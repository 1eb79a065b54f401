//! `specialists`: who learns what.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::reader::Reader;
use crate::experiment::schema::{Origin, Specialist};
use crate::experiment::value::{json, overlaid};
use crate::yaml::{Field, Fields, Kind, Node};

/// Keys of a specialist that are ours; all others are its training recipe's.
const OWN: &[&str] = &["tasks", "datasets", "adapter", "max_rows"];
/// Training settings that the experiment itself makes.
const TAKEN: &[&str] = &["base_model", "output_dir"];

impl Reader {
    pub(super) fn specialists(&mut self, node: &Node, training: &Map<String, Value>) -> IndexMap<String, Specialist> {
        let mut found = IndexMap::new();
        for key in TAKEN.iter().filter(|key| training.contains_key(**key)) {
            self.diagnostics
                .error(node.span, format!("`{key}` does not belong into `training`: the experiment sets it"));
        }
        for field in Fields::of_optional(node, "`specialists`", &mut self.diagnostics).iter() {
            found.extend(self.specialist(field, training).map(|specialist| (field.name.to_owned(), specialist)));
        }
        found
    }

    /// A list is short for its tasks.
    fn specialist(&mut self, specialist: Field<'_>, training: &Map<String, Value>) -> Option<Specialist> {
        let Field { name, node, .. } = specialist;
        if matches!(node.kind, Kind::Sequence(_)) {
            let tasks = self.texts(Field { name: "tasks", ..specialist });
            return self.trained(name, node, &tasks, &[], None, training.clone());
        }
        let fields = Fields::of_optional(node, &format!("specialist `{name}`"), &mut self.diagnostics);
        let (mut tasks, mut datasets, mut folder, mut max_rows) = (Vec::new(), Vec::new(), None, None);
        let mut own = Map::new();
        for field in fields.iter() {
            match field.name {
                "tasks" => tasks = self.texts(field),
                "datasets" => datasets = field.items(&mut self.diagnostics).unwrap_or_default().to_vec(),
                // A folder is an adapter that exists; `lora` or `full` is the recipe's word for what to train.
                "adapter" if !matches!(field.scalar(), Some("lora" | "qlora" | "full" | "none")) => {
                    folder = field.read::<String>(&mut self.diagnostics).map(|path| self.beside(&path));
                }
                "max_rows" => max_rows = field.read::<u64>(&mut self.diagnostics),
                taken if TAKEN.contains(&taken) => {
                    self.diagnostics.error(field.key, format!("`{taken}` is set by the experiment"));
                }
                _ => {
                    own.insert(field.name.to_owned(), json(field.node));
                }
            }
        }
        let Some(folder) = folder else {
            return self.trained(name, node, &tasks, &datasets, max_rows, overlaid(training, &own));
        };
        if !own.is_empty() || !datasets.is_empty() || max_rows.is_some() {
            let help = "leave out everything but `tasks`, or leave out `adapter`";
            let message = format!("specialist `{name}` has an `adapter`, so there is nothing to train");
            self.diagnostics.error_help(node.span, message, help);
        }
        Some(Specialist { learns: tasks, origin: Origin::Adapter(folder) })
    }

    fn trained(
        &mut self,
        name: &str,
        node: &Node,
        tasks: &[String],
        extra: &[Node],
        max_rows: Option<u64>,
        settings: Map<String, Value>,
    ) -> Option<Specialist> {
        let mut datasets = Vec::new();
        for task in tasks {
            let mut entry = Map::new();
            entry.insert("path".to_owned(), self.file_or_name(task).into());
            entry.insert("type".to_owned(), "task".into());
            if let Some(rows) = max_rows {
                entry.insert("max_rows".to_owned(), rows.into());
            }
            datasets.push(entry);
        }
        for item in extra {
            match json(item) {
                Value::Object(mut entry) if entry.get("path").is_some_and(Value::is_string) => {
                    let path = entry.get("path").and_then(Value::as_str).map(|path| self.file_or_name(path));
                    entry.insert("path".to_owned(), path.into());
                    datasets.push(entry);
                }
                _ => self.diagnostics.error_help(
                    item.span,
                    "a data set needs a `path`",
                    "for example `{path: general.jsonl, type: alpaca, share: 0.25}`",
                ),
            }
        }
        if datasets.is_empty() {
            let message = format!("specialist `{name}` learns nothing");
            self.diagnostics.error_help(node.span, message, format!("give it {}", OWN[..3].join(", or ")));
            return None;
        }
        let learns = datasets.iter().map(|entry| {
            let path = entry.get("name").or_else(|| entry.get("path")).and_then(Value::as_str).unwrap_or_default();
            let file = std::path::Path::new(path);
            let is_file = file.extension().is_some() || path.contains('/');
            let stem = file.file_stem().filter(|_| is_file).map(|stem| stem.to_string_lossy().into_owned());
            stem.unwrap_or_else(|| path.to_owned())
        });
        Some(Specialist { learns: learns.collect(), origin: Origin::Trained { datasets, settings } })
    }

    /// A path from the file's folder, or the name of a task of the suite.
    pub(super) fn file_or_name(&self, text: &str) -> String {
        let path = self.folder.join(text);
        let looks_like_one = text.contains('/') || std::path::Path::new(text).extension().is_some();
        if looks_like_one && path.exists() { path.display().to_string() } else { text.to_owned() }
    }
}
