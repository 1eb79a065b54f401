//! `specialists`: who learns what.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::reader::{Entry, Reader};
use crate::experiment::schema::{Origin, Specialist};
use crate::experiment::value::json;
use crate::yaml::{Field, Fields, Kind, Node, Spanned};

/// Keys of a specialist that are ours; all others are its training recipe's.
const OWN: &[&str] = &["tasks", "datasets", "adapter", "max_rows"];
/// Keys that the experiment itself sets in every training.
const TAKEN: &[&str] = &["base_model", "output_dir"];

impl Reader {
    pub(super) fn specialists(&mut self, node: &Node, training: &[Entry]) -> IndexMap<String, Specialist> {
        let mut found = IndexMap::new();
        for key in TAKEN.iter().filter(|key| has(training, key)) {
            self.diagnostics
                .error(node.span, format!("`{key}` does not belong into `training`: the experiment sets it"));
        }
        for field in Fields::of_optional(node, "`specialists`", &mut self.diagnostics).iter() {
            found.extend(self.specialist(field, training).map(|specialist| (field.name.to_owned(), specialist)));
        }
        found
    }

    /// A list is short for its tasks.
    fn specialist(&mut self, specialist: Field<'_>, training: &[Entry]) -> Option<Specialist> {
        let Field { name, node, .. } = specialist;
        if matches!(node.kind, Kind::Sequence(_)) {
            let tasks = self.texts(Field { name: "tasks", ..specialist });
            return self.trained(name, node, &tasks, &[], None, training.to_vec());
        }
        let fields = Fields::of_optional(node, &format!("specialist `{name}`"), &mut self.diagnostics);
        let (mut tasks, mut datasets, mut folder, mut max_rows) = (Vec::new(), Vec::new(), None, None);
        let mut own: Vec<Entry> = Vec::new();
        for field in fields.iter() {
            match field.name {
                "tasks" => tasks = self.texts(field),
                "datasets" => datasets = field.items(&mut self.diagnostics).map_or_else(Vec::new, <[Node]>::to_vec),
                // A folder is an adapter that exists; `lora` or `full` is the recipe's word for what to train.
                "adapter" if !matches!(field.scalar(), Some("lora" | "qlora" | "full" | "none")) => {
                    folder = field.read::<String>(&mut self.diagnostics).map(|path| self.beside(&path));
                }
                "max_rows" => max_rows = field.read::<u64>(&mut self.diagnostics),
                taken if TAKEN.contains(&taken) => {
                    self.diagnostics.error(field.key, format!("`{taken}` is set by the experiment"));
                }
                _ => own.push(entry(field)),
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
        settings: Vec<Entry>,
    ) -> Option<Specialist> {
        let mut sets: Vec<Node> = Vec::new();
        for task in tasks {
            let entry = |key: &str, text: &str, quoted: bool| {
                let kind = Kind::Scalar { text: text.to_owned(), quoted };
                (Spanned { value: key.to_owned(), span: node.span }, Node { span: node.span, kind })
            };
            let mut entries = vec![entry("path", &self.file_or_name(task), true), entry("type", "task", true)];
            entries.extend(max_rows.map(|rows| entry("max_rows", &rows.to_string(), false)));
            sets.push(Node { span: node.span, kind: Kind::Mapping(entries) });
        }
        for item in extra {
            match (&item.kind, json(item)) {
                (Kind::Mapping(entries), Value::Object(set)) if set.get("path").is_some_and(Value::is_string) => {
                    let mut entries = entries.clone();
                    for (_, value) in entries.iter_mut().filter(|(key, _)| key.value == "path") {
                        if let Kind::Scalar { text, .. } = &mut value.kind {
                            *text = self.file_or_name(text);
                        }
                    }
                    sets.push(Node { span: item.span, kind: Kind::Mapping(entries) });
                }
                _ => self.diagnostics.error_help(
                    item.span,
                    "a data set needs a `path`",
                    "for example `{path: general.jsonl, type: alpaca, share: 0.25}`",
                ),
            }
        }
        if sets.is_empty() {
            let message = format!("specialist `{name}` learns nothing");
            self.diagnostics.error_help(node.span, message, format!("give it {}", OWN[..3].join(", or ")));
            return None;
        }
        let object = |node: &Node| match json(node) {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let datasets: Vec<Map<String, Value>> = sets.iter().map(object).collect();
        let learns = datasets.iter().map(|entry| {
            let path = entry.get("name").or_else(|| entry.get("path")).and_then(Value::as_str).unwrap_or("");
            let file = std::path::Path::new(path);
            let is_file = file.extension().is_some() || path.contains('/');
            let stem = file.file_stem().filter(|_| is_file).map(|stem| stem.to_string_lossy().into_owned());
            stem.unwrap_or_else(|| path.to_owned())
        });
        let learns = learns.collect();
        let values = object(&Node { span: node.span, kind: Kind::Mapping(settings.clone()) });
        let list = Node { span: node.span, kind: Kind::Sequence(sets) };
        let mut entries = vec![(Spanned { value: "datasets".to_owned(), span: node.span }, list)];
        entries.extend(settings);
        let recipe = Node { span: node.span, kind: Kind::Mapping(entries) };
        Some(Specialist { learns, origin: Origin::Trained { datasets, settings: values, recipe } })
    }

    /// A path from the file's folder, or the name of a task of the suite.
    pub(super) fn file_or_name(&self, text: &str) -> String {
        let path = self.folder.join(text);
        let looks_like_one = text.contains('/') || std::path::Path::new(text).extension().is_some();
        if looks_like_one && path.exists() { path.display().to_string() } else { text.to_owned() }
    }
}

/// A key and its value, owned.
fn entry(field: Field<'_>) -> Entry {
    (Spanned { value: field.name.to_owned(), span: field.key }, field.node.clone())
}

fn has(entries: &[Entry], key: &str) -> bool {
    entries.iter().any(|(known, _)| known.value == key)
}

/// `over` on top of `under`, key by key; mappings are joined, everything else is replaced.
fn overlaid(under: &[Entry], over: &[Entry]) -> Vec<Entry> {
    let mut joined = under.to_vec();
    for (key, value) in over {
        let Some((place, known)) = joined.iter_mut().find(|(known, _)| known.value == key.value) else {
            joined.push((key.clone(), value.clone()));
            continue;
        };
        place.span = key.span;
        match (&mut known.kind, &value.kind) {
            (Kind::Mapping(under), Kind::Mapping(over)) => *under = overlaid(under, over),
            _ => *known = value.clone(),
        }
    }
    joined
}
