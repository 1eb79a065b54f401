//! From the keys of a task file to a [`TaskConfig`].

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::config::{DataFormat, Field, OutputType, TaskConfig};
use super::file::{Entries, Files, Origin};
use super::generation;
use super::reader::{Reader, Text, check_template};
use crate::python::yaml_scalars::json;
use crate::storage::file_name;
use crate::yaml::{self, Diagnostics, Fields, Kind, Severity};

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
const MOST_SHOTS: u64 = 100_000;
const MOST_REPEATS: u64 = 1_000;

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

/// The task that the keys describe; `None` after errors were noted.
pub(super) fn task(entries: &Entries, origin: &Origin, files: &mut Files) -> Option<TaskConfig> {
    check_keys(entries, TASK_KEYS, files);
    let mut reader = Reader::new(entries, files);
    let output_type = reader.output_type();
    let (format, data_files) = reader.dataset();
    let target_delimiter = reader.text("target_delimiter").unwrap_or_else(|| " ".to_owned());
    let fewshot_delimiter = reader.text("fewshot_delimiter").unwrap_or_else(|| "\n\n".to_owned());
    let doc_to_text = reader.read::<Field>("doc_to_text");
    let doc_to_target = reader.read::<Field>("doc_to_target");
    let doc_to_choice = reader.read::<Field>("doc_to_choice");
    for key in ["description", "gen_prefix"] {
        if let Some((field, diagnostics)) = reader.given(key)
            && let Some(Text(text)) = field.read(diagnostics)
        {
            check_template(field, &text, diagnostics);
        }
    }
    let rolling = output_type == Some(OutputType::LoglikelihoodRolling);
    reader.required("task");
    if let Some(why) = reader.text("task").and_then(|name| file_name::fault(&name)) {
        let help = "the name becomes part of a file's name, `samples_NAME_TIME.jsonl`";
        reader.fault("task", format!("this can't be a task's name: {why}"), help);
    }
    reader.required("doc_to_target");
    if !rolling {
        reader.required("doc_to_text");
    }
    if output_type == Some(OutputType::MultipleChoice) {
        reader.required("doc_to_choice");
    }
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
    if let Some((field, diagnostics)) = reader.given("unsafe_code")
        && json(field.node) == Value::Bool(true)
    {
        let help = "billon never runs code that a model wrote";
        diagnostics.error_help(field.key, "`unsafe_code` is not supported with this value", help);
    }
    let protocols = reader.protocols(output_type);
    reader.written_labels();
    let role = reader.role();
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
        num_fewshot: reader.whole("num_fewshot", 0..=MOST_SHOTS),
        repeats: reader.whole("repeats", 1..=MOST_REPEATS).unwrap_or(1),
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
    Reader::new(entries, files).read("tag").unwrap_or_else(Vec::new)
}

/// All keys as JSON.
fn raw(entries: &Entries) -> Map<String, Value> {
    entries.iter().map(|(key, entry)| (key.clone(), json(&entry.node))).collect()
}

impl Reader<'_> {
    fn output_type(&mut self) -> Option<OutputType> {
        let all = [
            OutputType::Loglikelihood,
            OutputType::LoglikelihoodRolling,
            OutputType::GenerateUntil,
            OutputType::MultipleChoice,
        ];
        match self.given("output_type") {
            Some((field, diagnostics)) => {
                field.one_of("output type", &all.map(|kind| (kind.name(), kind)), diagnostics)
            }
            None => Some(OutputType::GenerateUntil),
        }
    }

    fn dataset(&mut self) -> (Option<DataFormat>, IndexMap<String, Vec<String>>) {
        let format = match self.text("dataset_path").as_deref() {
            Some("json") => Some(DataFormat::Json),
            Some("csv") => Some(DataFormat::Csv),
            Some("parquet") => Some(DataFormat::Parquet),
            Some(other) => {
                let help = "billon reads local files: `dataset_path: json`, csv or parquet, and \
                    `dataset_kwargs: {data_files: {test: FILE}}`";
                self.fault("dataset_path", format!("data set `{other}` would have to be downloaded"), help);
                None
            }
            None => {
                self.at_top("key `dataset_path` is missing");
                None
            }
        };
        let Some((field, diagnostics)) = self.given("dataset_kwargs") else {
            if format.is_some() {
                self.at_top("key `dataset_kwargs` with `data_files` is missing");
            }
            return (format, IndexMap::new());
        };
        (format, data_files(field, diagnostics))
    }

    /// The name of a split, which must have a data file.
    pub(super) fn split(&mut self, key: &str, files: &IndexMap<String, Vec<String>>) -> Option<String> {
        let split = self.text(key)?;
        if !files.is_empty() && !files.contains_key(&split) {
            let known = files.keys().cloned().collect::<Vec<_>>().join(", ");
            self.fault(key, format!("split `{split}` has no data file"), format!("data_files has: {known}"));
        }
        Some(split)
    }

    /// The harness's defaults: greedy, 256 tokens, the few-shot delimiter as stop.
    fn generation(&mut self, output_type: Option<OutputType>, delimiter: &str) -> Option<Map<String, Value>> {
        let given = self.given("generation_kwargs");
        if output_type != Some(OutputType::GenerateUntil) {
            if let Some((field, diagnostics)) = given {
                let message = "`generation_kwargs` has no effect: nothing is generated with this `output_type`";
                diagnostics.warning(field.key, message, None);
            }
            return None;
        }
        let until = Value::from(vec![delimiter]);
        let Some((fields, diagnostics)) =
            given.and_then(|(field, diagnostics)| Some((field.fields(diagnostics)?, diagnostics)))
        else {
            let defaults = [
                ("temperature", Value::from(0.0)),
                ("do_sample", Value::Bool(false)),
                ("max_gen_toks", Value::from(256)),
                ("until", until),
            ];
            return Some(defaults.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        };
        let mut map: Map<String, Value> =
            fields.iter().map(|field| (field.name.to_owned(), json(field.node))).collect();
        for fault in generation::faults(&map) {
            let place = fields.get(&fault.key).map_or(fields.span(), |field| field.key);
            let help = Some(fault.help).filter(|help| !help.is_empty());
            diagnostics.push(Severity::Error, Some(place), fault.message, help);
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

/// The data files of each split; files without one are of `train`.
fn data_files(field: yaml::Field<'_>, diagnostics: &mut Diagnostics) -> IndexMap<String, Vec<String>> {
    let mut files = IndexMap::new();
    let Some(fields) = field.fields(diagnostics) else { return files };
    for inner in fields.iter() {
        match (inner.name, &inner.node.kind) {
            ("data_files", Kind::Mapping(_)) => {
                for split in Fields::within(inner.node).iter() {
                    files.insert(split.name.to_owned(), split.read(diagnostics).unwrap_or_else(Vec::new));
                }
            }
            ("data_files", _) => {
                files.insert("train".to_owned(), inner.read(diagnostics).unwrap_or_else(Vec::new));
            }
            ("trust_remote_code", _) => {}
            (other, _) => {
                diagnostics.error_help(inner.key, format!("`{other}` is not supported here"), "known: data_files");
            }
        }
    }
    if files.is_empty() {
        diagnostics.error(field.node.span, "`data_files` names no file");
    }
    files
}
