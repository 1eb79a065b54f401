//! From the keys of a task file to a [`TaskConfig`].

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::config::{DataFormat, Field, OutputType, TaskConfig};
use super::file::{Entries, Entry, Files, Origin};
use super::generation;
use crate::python::yaml_scalars::json;
use crate::storage::file_name;
use crate::yaml::{Kind, Node, Span};

/// Keys that a task file may have.
pub(super) const TASK_KEYS: &[&str] = &[
    "task",
    "task_alias",
    "tag",
    "dataset_path",
    "dataset_name",
    "dataset_kwargs",
    "training_split",
    "validation_split",
    "test_split",
    "fewshot_split",
    "doc_to_text",
    "doc_to_target",
    "doc_to_choice",
    "description",
    "target_delimiter",
    "fewshot_delimiter",
    "fewshot_config",
    "num_fewshot",
    "metric_list",
    "output_type",
    "generation_kwargs",
    "repeats",
    "filter_list",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "gen_prefix",
    "metadata",
    "include",
    "unsafe_code",
];

/// Keys of the harness that run Python or need what billon lacks.
const REFUSED: &[(&str, &str)] = &[
    ("custom_dataset", "runs Python"),
    ("process_docs", "runs Python"),
    ("process_results", "runs Python"),
    ("class", "runs Python"),
    ("doc_to_image", "asks about images"),
    ("doc_to_audio", "asks about sounds"),
    ("use_prompt", "takes its prompt from another program"),
    ("task_list", "is an old form of `group`"),
];

/// Most examples in a prompt, and most answers to one: each takes memory of its own.
const MOST_SHOTS: usize = 100_000;
const MOST_REPEATS: usize = 1_000;

/// Notes keys that are unknown or refused.
pub(super) fn check_keys(entries: &Entries, known: &[&str], files: &mut Files) {
    for (name, entry) in entries {
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| refused == name) {
            let help = "prepare the data and the prompt beforehand, and remove the key";
            files.error(entry, entry.key, format!("`{name}` is not supported: it {why}"), help);
        } else if let (false, Some(diagnostics)) = (known.contains(&name.as_str()), files.of(entry.file)) {
            diagnostics.unknown(entry.key, "key", name, known);
        }
    }
}

/// Reads typed values out of a task's keys, noting what does not fit.
pub(super) struct Reader<'a> {
    entries: &'a Entries,
    pub(super) files: &'a mut Files,
}

/// The task that the keys describe; `None` after errors were noted.
pub(super) fn task(entries: &Entries, origin: &Origin, files: &mut Files) -> Option<TaskConfig> {
    check_keys(entries, TASK_KEYS, files);
    let mut reader = Reader { entries, files };
    let output_type = reader.output_type();
    let (format, data_files) = reader.dataset();
    let target_delimiter = reader.text("target_delimiter").unwrap_or_else(|| " ".to_owned());
    let fewshot_delimiter = reader.text("fewshot_delimiter").unwrap_or_else(|| "\n\n".to_owned());
    let doc_to_text = reader.field("doc_to_text");
    let doc_to_target = reader.field("doc_to_target");
    let doc_to_choice = reader.field("doc_to_choice");
    for key in ["description", "gen_prefix"] {
        let fault = reader.text(key).and_then(|text| super::template::check(&text).err());
        if let Some(message) = fault {
            reader.fault(key, None, format!("not a valid template: {message}"), "");
        }
    }
    let rolling = output_type == Some(OutputType::LoglikelihoodRolling);
    reader.required("task", true);
    if let Some(why) = reader.text("task").and_then(|name| file_name::fault(&name)) {
        let help = "the name becomes part of a file's name, `samples_NAME_TIME.jsonl`";
        reader.fault("task", None, format!("this can't be a task's name: {why}"), help);
    }
    reader.required("doc_to_target", true);
    reader.required("doc_to_text", !rolling);
    reader.required("doc_to_choice", output_type == Some(OutputType::MultipleChoice));
    let splits = ["training_split", "validation_split", "test_split"].map(|key| reader.split(key, &data_files));
    let [training_split, validation_split, test_split] = splits;
    if test_split.is_none() && validation_split.is_none() {
        reader.at_top("a task needs a `test_split` or a `validation_split`");
    }
    let generation_kwargs = reader.generation(output_type, &fewshot_delimiter);
    let fewshot = reader.fewshot(&data_files, &target_delimiter, &fewshot_delimiter);
    let metadata = match reader.json("metadata") {
        Some(Value::Object(map)) => map,
        Some(Value::Null) | None => Map::new(),
        Some(other) => Map::from_iter([("_metadata".to_owned(), other)]),
    };
    if reader.json("unsafe_code").is_some_and(|v| v == Value::Bool(true)) {
        reader.refuse("unsafe_code", "billon never runs code that a model wrote");
    }
    let protocols = reader.protocols(&metadata, output_type);
    reader.written_labels(&metadata);
    let role = reader.role(&metadata);
    let metrics = reader.metrics(output_type);
    let filters = reader.filters();
    let config = TaskConfig {
        name: reader.text("task").unwrap_or_else(String::new),
        alias: reader.text("task_alias"),
        tags: tags(entries, reader.files),
        file: origin.display(),
        folder: origin.folder(),
        output_type: output_type?,
        format: format?,
        data_files,
        training_split,
        validation_split,
        test_split,
        doc_to_text: doc_to_text.or_else(|| rolling.then(|| Field::Template(String::new())))?,
        doc_to_target: doc_to_target?,
        doc_to_choice,
        description: reader.text("description").unwrap_or_else(String::new),
        target_delimiter,
        fewshot_delimiter,
        gen_prefix: reader.text("gen_prefix"),
        num_fewshot: reader.count("num_fewshot", MOST_SHOTS),
        repeats: reader.repeats(),
        fewshot,
        generation_kwargs,
        filters,
        metrics,
        metadata,
        role,
        protocols,
        raw: raw(entries),
    };
    Some(config)
}

/// The tags of a task or group.
pub(super) fn tags(entries: &Entries, files: &mut Files) -> Vec<String> {
    let Some(entry) = entries.get("tag") else { return Vec::new() };
    if entry.node.kind == Kind::Null {
        return Vec::new();
    }
    files.names(entry).into_iter().map(|(name, _)| name).collect()
}

/// All keys as JSON.
fn raw(entries: &Entries) -> Map<String, Value> {
    entries.iter().map(|(key, entry)| (key.clone(), json(&entry.node))).collect()
}

pub(super) fn mapping(node: &Node) -> Option<&[(crate::yaml::Spanned<String>, Node)]> {
    match &node.kind {
        Kind::Mapping(entries) => Some(entries),
        _ => None,
    }
}

impl Reader<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.node.kind != Kind::Null)
    }

    pub(super) fn json(&self, key: &str) -> Option<Value> {
        self.get(key).map(|entry| json(&entry.node))
    }

    pub(super) fn fault(&mut self, key: &str, span: Option<Span>, message: impl Into<String>, help: &str) {
        if let Some(entry) = self.entries.get(key) {
            self.files.error(entry, span.unwrap_or(entry.node.span), message, help);
        }
    }

    /// Notes something that changes nothing.
    fn warning(&mut self, key: &str, message: &str) {
        if let Some((span, file)) = self.entries.get(key).map(|entry| (entry.key, entry.file))
            && let Some(diagnostics) = self.files.of(file)
        {
            diagnostics.warning(span, message, None);
        }
    }

    fn refuse(&mut self, key: &str, help: &str) {
        let span = self.entries.get(key).map(|entry| entry.key);
        self.fault(key, span, format!("`{key}` is not supported with this value"), help);
    }

    /// A problem of the whole task, shown at its first key.
    fn at_top(&mut self, message: &str) {
        if let Some(entry) = self.entries.get("task").or_else(|| self.entries.values().next()) {
            self.files.error(entry, entry.key, message, "");
        }
    }

    fn required(&mut self, key: &str, when: bool) {
        if when && self.get(key).is_none() {
            self.at_top(&format!("key `{key}` is missing"));
        }
    }

    /// A string; a number or boolean counts as its Python text.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.json(key)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            other => {
                self.fault(key, None, format!("`{key}` must be a text"), quote_hint(&other));
                None
            }
        }
    }

    fn count(&mut self, key: &str, most: usize) -> Option<usize> {
        let value = self.json(key)?;
        let count = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= most);
        if count.is_none() {
            self.fault(key, None, format!("`{key}` must be a whole number from 0 to {most}, not {value}"), "");
        }
        count
    }

    fn repeats(&mut self) -> usize {
        let Some(value) = self.json("repeats") else { return 1 };
        let count = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=MOST_REPEATS).contains(n));
        if count.is_none() {
            let message = format!("`repeats` must be a whole number from 1 to {MOST_REPEATS}, not {value}");
            self.fault("repeats", None, message, "");
        }
        count.unwrap_or(1)
    }

    fn output_type(&mut self) -> Option<OutputType> {
        let Some(name) = self.text("output_type") else { return Some(OutputType::GenerateUntil) };
        let all = [
            OutputType::Loglikelihood,
            OutputType::LoglikelihoodRolling,
            OutputType::GenerateUntil,
            OutputType::MultipleChoice,
        ];
        let found = all.into_iter().find(|kind| kind.name() == name);
        if found.is_none() {
            let names = all.map(OutputType::name).join(", ");
            self.fault("output_type", None, format!("unknown output type `{name}`"), &format!("known: {names}"));
        }
        found
    }

    fn dataset(&mut self) -> (Option<DataFormat>, IndexMap<String, Vec<String>>) {
        let format = match self.text("dataset_path").as_deref() {
            Some("json") => Some(DataFormat::Json),
            Some("csv") => Some(DataFormat::Csv),
            Some("parquet") => Some(DataFormat::Parquet),
            Some(other) => {
                let help = "billon reads local files: `dataset_path: json`, csv or parquet, and \
                    `dataset_kwargs: {data_files: {test: FILE}}`";
                self.fault("dataset_path", None, format!("data set `{other}` would have to be downloaded"), help);
                None
            }
            None => {
                self.at_top("key `dataset_path` is missing");
                None
            }
        };
        let mut files = IndexMap::new();
        let Some(entry) = self.get("dataset_kwargs").cloned() else {
            if format.is_some() {
                self.at_top("key `dataset_kwargs` with `data_files` is missing");
            }
            return (format, files);
        };
        let Some(keys) = mapping(&entry.node) else {
            self.fault("dataset_kwargs", None, "`dataset_kwargs` must be a mapping with `data_files`", "");
            return (format, files);
        };
        for (key, node) in keys {
            match (key.value.as_str(), &node.kind) {
                ("data_files", Kind::Mapping(splits)) => {
                    for (split, node) in splits {
                        files.insert(split.value.clone(), self.file_names(&entry, node));
                    }
                }
                ("data_files", _) => {
                    files.insert("train".to_owned(), self.file_names(&entry, node));
                }
                ("trust_remote_code", _) => {}
                (other, _) => {
                    let message = format!("`{other}` is not supported here");
                    self.fault("dataset_kwargs", Some(key.span), message, "known: data_files");
                }
            }
        }
        if files.is_empty() {
            self.fault("dataset_kwargs", None, "`data_files` names no file", "");
        }
        (format, files)
    }

    fn file_names(&mut self, entry: &Entry, node: &Node) -> Vec<String> {
        let names = self.files.names(&Entry { node: node.clone(), ..*entry });
        names.into_iter().map(|(name, _)| name).collect()
    }

    /// The name of a split, which must have a data file.
    pub(super) fn split(&mut self, key: &str, files: &IndexMap<String, Vec<String>>) -> Option<String> {
        let split = self.text(key)?;
        if !files.is_empty() && !files.contains_key(&split) {
            let known = files.keys().cloned().collect::<Vec<_>>().join(", ");
            self.fault(key, None, format!("split `{split}` has no data file"), &format!("data_files has: {known}"));
        }
        Some(split)
    }

    fn field(&mut self, key: &str) -> Option<Field> {
        let value = self.json(key)?;
        self.field_of(key, None, value)
    }

    pub(super) fn field_of(&mut self, key: &str, span: Option<Span>, value: Value) -> Option<Field> {
        match value {
            Value::String(text) => {
                if let Err(message) = super::template::check(&text) {
                    self.fault(key, span, format!("not a valid template: {message}"), "");
                }
                Some(Field::Template(text))
            }
            Value::Number(number) if number.is_i64() => number.as_i64().map(Field::Integer),
            Value::Array(items) => Some(Field::List(items)),
            Value::Object(map) => Some(Field::List(map.into_iter().map(|(_, value)| value).collect())),
            other => {
                self.fault(key, span, format!("`{key}` must be a text or a list"), quote_hint(&other));
                None
            }
        }
        .filter(|field| {
            let Field::List(items) = field else { return true };
            let odd = items.iter().find(|item| matches!(item, Value::Bool(_) | Value::Null));
            if let Some(odd) = odd {
                self.fault(key, span, format!("`{key}` has an item that is no text"), quote_hint(odd));
            }
            odd.is_none()
        })
    }

    /// The harness's defaults: greedy, 256 tokens, the few-shot delimiter as stop.
    fn generation(&mut self, output_type: Option<OutputType>, delimiter: &str) -> Option<Map<String, Value>> {
        let given = match self.json("generation_kwargs") {
            Some(Value::Object(map)) => Some(map),
            Some(_) => {
                self.fault("generation_kwargs", None, "`generation_kwargs` must be a mapping", "");
                None
            }
            None => None,
        };
        if output_type != Some(OutputType::GenerateUntil) {
            if given.is_some() {
                let message = "`generation_kwargs` has no effect: nothing is generated with this `output_type`";
                self.warning("generation_kwargs", message);
            }
            return None;
        }
        let until = Value::from(vec![delimiter]);
        let Some(mut map) = given else {
            let defaults = [
                ("temperature", Value::from(0.0)),
                ("do_sample", Value::Bool(false)),
                ("max_gen_toks", Value::from(256)),
                ("until", until),
            ];
            return Some(defaults.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        };
        for fault in generation::faults(&map) {
            let span = self.get("generation_kwargs").and_then(|entry| {
                mapping(&entry.node)?.iter().find(|(key, _)| key.value == fault.key).map(|(key, _)| key.span)
            });
            self.fault("generation_kwargs", span, fault.message, &fault.help);
        }
        // Samples show it as the harness does, which makes it a float.
        let degrees = map.get("temperature").and_then(|value| match value {
            Value::String(text) => text.trim().parse::<f64>().ok(),
            other => other.as_f64(),
        });
        if let Some(degrees) = degrees {
            map.insert("temperature".to_owned(), Value::from(degrees));
        }
        if !map.contains_key("until") {
            map.insert("until".to_owned(), until);
        }
        Some(map)
    }
}

pub(super) fn quote_hint(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "a bare yes, no, on, off, true or false is a boolean in YAML 1.1: put it in quotes",
        Value::Null => "put it in quotes if a word is meant",
        _ => "",
    }
}
