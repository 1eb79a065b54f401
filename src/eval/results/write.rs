//! Writing results so that the harness's readers accept them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::record::{GroupMetric, GroupRecord, RunRecord, SampleRecord, TaskRecord, TaskRun};
use crate::eval::interval::{Estimate, Part, group};
use crate::eval::outcome::Outcome;
use crate::eval::scoring::{DocumentScores, SlotScores};
use crate::python::json;
use crate::storage::file_name;
use crate::storage::file_set::FileSet;
use crate::storage::publish::WriteError;

/// The files of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// `results_<time>.json`.
    pub results: PathBuf,
    /// One samples file a task.
    pub samples: Vec<PathBuf>,
}

/// The present time as the harness writes it into file names.
#[must_use]
pub(crate) fn stamp() -> String {
    crate::clock::now().datetime().strftime("%Y-%m-%dT%H-%M-%S%.6f").to_string()
}

/// Folder and stem of a run's results: made and proven writable before the model is asked anything.
#[derive(Debug)]
pub(crate) struct Destination {
    files: FileSet,
    /// Stem of the results file's name.
    stem: String,
}

impl Destination {
    /// Prepares the folder below `out` that is named after the model, or the one that `out` is in when that ends in
    /// `.json`. What killed runs left there goes.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn prepare(out: &Path, model_name: &str) -> Result<Self, WriteError> {
        let (folder, stem) = if out.extension().is_some_and(|extension| extension == "json") {
            let stem = out.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            (out.parent().map_or_else(PathBuf::new, Path::to_path_buf), stem)
        } else {
            (out.join(folder_name(model_name)), "results".to_owned())
        };
        let is_old = |found: &str| found.starts_with("results_") || found.starts_with("samples_");
        let files = FileSet::prepare(&folder, "results", is_old)?;
        files.accepts(&format!("{stem}_{}.json", stamp()))?;
        Ok(Self { files, stem })
    }

    /// Publishes results and samples, together or not at all: a results file never lacks its samples.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn write(self, record: &RunRecord, stamp: &str) -> Result<Written, WriteError> {
        let mut names = Vec::new();
        for task in &record.tasks {
            let mut text = String::new();
            for line in sample_lines(task) {
                text.push_str(&line.to_string());
                text.push('\n');
            }
            let name = format!("samples_{}_{stamp}.jsonl", task.name);
            self.files.write(&name, text.as_bytes())?;
            names.push(name);
        }
        let results = format!("{}_{stamp}.json", self.stem);
        let mut text =
            serde_json::to_string_pretty(&results_json(record)).expect("a JSON value has nothing that JSON lacks");
        text.push('\n');
        self.files.write(&results, text.as_bytes())?;
        let (samples, results) = self.files.publish(&names, &results)?;
        Ok(Written { results, samples })
    }
}

/// Publishes a run below `out` (see [`Destination::prepare`]).
///
/// # Errors
/// I/O errors; nothing is published then.
pub(crate) fn write(out: &Path, record: &RunRecord, stamp: &str) -> Result<Written, WriteError> {
    Destination::prepare(out, &record.model_name)?.write(record, stamp)
}

/// The folder of a model's results: its name with path characters replaced, and never one that leads elsewhere or is
/// too long for a file system.
fn folder_name(model_name: &str) -> String {
    let name = sanitise(model_name);
    if name.chars().all(|c| c == '.') { "_".repeat(name.len().max(1)) } else { file_name::shortened(&name) }
}

/// A model's name as a folder's: runs of path characters become two underscores.
#[must_use]
pub(crate) fn sanitise(name: &str) -> String {
    let mut out = String::new();
    let mut running = false;
    for c in name.chars() {
        let special = "\"<>:/|\\?*[]".contains(c);
        if !special {
            out.push(c);
        } else if !running {
            out.push_str("__");
        }
        running = special;
    }
    out
}

/// The results file.
#[must_use]
pub(crate) fn results_json(record: &RunRecord) -> Value {
    let mut results = Map::new();
    let mut own = Map::new();
    for task in &record.tasks {
        results.insert(task.name.clone(), task_json(task));
        own.insert(task.name.clone(), own_json(task));
    }
    let mut groups = Map::new();
    for record_group in &record.groups {
        let value = group_json(record_group, record);
        if !record_group.metrics.is_empty() {
            groups.insert(record_group.name.clone(), value.clone());
        }
        results.insert(record_group.name.clone(), value);
    }
    let tasks = |value: &dyn Fn(&TaskRecord) -> Value| -> Map<String, Value> {
        record.tasks.iter().map(|task| (task.name.clone(), value(task))).collect()
    };
    let mut top = Map::new();
    top.insert("results".into(), results.into());
    if !groups.is_empty() {
        top.insert("groups".into(), groups.into());
    }
    let subtasks: Map<String, Value> =
        record.groups.iter().map(|group| (group.name.clone(), json!(group.children))).collect();
    top.insert("group_subtasks".into(), subtasks.into());
    top.insert("configs".into(), tasks(&|task| task.config.clone().into()).into());
    let mut versions = tasks(&|task| task.version.clone());
    versions.extend(record.groups.iter().map(|group| (group.name.clone(), group.version.clone())));
    top.insert("versions".into(), versions.into());
    let mut shots = tasks(&|task| task.num_fewshot.into());
    for group in &record.groups {
        let own: BTreeSet<usize> =
            record.tasks.iter().filter(|task| group.tasks.contains(&task.name)).map(|task| task.num_fewshot).collect();
        // A group has a number of shots when all its tasks have the same.
        if let (1, Some(number)) = (own.len(), own.first()) {
            shots.insert(group.name.clone(), (*number).into());
        }
    }
    top.insert("n-shot".into(), shots.into());
    top.insert("higher_is_better".into(), higher_is_better(record).into());
    let count = |task: &TaskRecord| json!({"original": task.documents, "effective": task.evaluated()});
    top.insert("n-samples".into(), tasks(&count).into());
    top.insert("config".into(), config_json(record).into());
    top.insert("git_hash".into(), Value::Null);
    top.insert("date".into(), json!(record.started));
    for key in ["pretty_env_info", "transformers_version", "lm_eval_version", "upper_git_hash"] {
        top.insert(key.into(), Value::Null);
    }
    top.extend(record.environment.clone());
    top.insert("task_hashes".into(), tasks(&|task| task_hash(task).into()).into());
    top.insert("model_source".into(), json!(record.model_source));
    top.insert("model_name".into(), json!(record.model_name));
    top.insert("model_name_sanitized".into(), json!(sanitise(&record.model_name)));
    let sha = |text: &Option<String>| json!(text.as_deref().map(json::hash));
    top.insert("system_instruction".into(), json!(record.system_instruction));
    top.insert("system_instruction_sha".into(), sha(&record.system_instruction));
    top.insert("fewshot_as_multiturn".into(), json!(record.fewshot_as_multiturn));
    top.insert("chat_template".into(), json!(record.chat_template));
    top.insert("chat_template_sha".into(), sha(&record.chat_template));
    top.insert("total_evaluation_time_seconds".into(), json!(json::float(record.elapsed)));
    let billon = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "seed": record.seed,
        "weights_sha256": record.weights_hash,
        "tokenizer_sha256": record.tokenizer_hash,
        "tasks": own,
    });
    top.insert("billon".into(), billon);
    top.into()
}

fn config_json(record: &RunRecord) -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("model".into(), json!(record.model_source));
    config.insert("model_args".into(), record.model_args.clone().into());
    for key in ["batch_size", "device", "use_cache", "limit", "gen_kwargs"] {
        config.insert(key.into(), Value::Null);
    }
    config.insert("batch_sizes".into(), json!([]));
    config.extend(record.config.clone());
    config.insert("fewshot_seed".into(), record.fewshot_seed.into());
    config
}

fn higher_is_better(record: &RunRecord) -> Map<String, Value> {
    let mut map = Map::new();
    for task in &record.tasks {
        let metrics: Map<String, Value> =
            task.metrics().map(|m| (m.metric.clone(), m.higher_is_better.into())).collect();
        map.insert(task.name.clone(), metrics.into());
    }
    for group in &record.groups {
        let mut metrics: Map<String, Value> = Map::new();
        for task in record.tasks.iter().filter(|task| group.tasks.contains(&task.name)) {
            for metric in task.metrics() {
                let value = json!(metric.higher_is_better);
                let entry = metrics.entry(metric.metric.clone()).or_insert_with(|| value.clone());
                if *entry != value {
                    *entry = Value::Null;
                }
            }
        }
        map.insert(group.name.clone(), metrics.into());
    }
    map
}

fn number(x: Option<f64>) -> Value {
    // JSON has no NaN; the harness's own word for "no number" is this.
    x.filter(|x| x.is_finite()).map_or_else(|| json!("N/A"), |x| json!(x))
}

fn task_json(task: &TaskRecord) -> Value {
    let mut map = Map::new();
    map.insert("name".into(), json!(task.name));
    map.insert("alias".into(), json!(task.alias.as_ref().unwrap_or(&task.name)));
    map.insert("sample_len".into(), json!(task.evaluated()));
    for score in task.metrics() {
        map.insert(score.key(), number(Some(score.estimate.value)));
        map.insert(format!("{}_stderr,{}", score.metric, score.slot), number(score.estimate.standard_error));
    }
    map.into()
}

fn own_json(task: &TaskRecord) -> Value {
    let mut warnings = task.warnings.clone();
    for (text, count) in task.runs.iter().flat_map(|run| &run.scores.warnings) {
        *warnings.entry(text.clone()).or_insert(0) += count;
    }
    let protocols: Vec<&str> = task.runs.iter().filter_map(|run| run.protocol.as_deref()).collect();
    let intervals: Map<String, Value> =
        task.metrics().map(|score| (score.key(), json!(score.estimate.interval))).collect();
    json!({
        "protocol": Some(protocols.join(",")).filter(|names| !names.is_empty()),
        "role": task.role,
        "truncated": task.truncated,
        "not_scored": task.not_scored,
        "judge": task.judge,
        "warnings": warnings,
        "intervals": intervals,
    })
}

fn group_json(record_group: &GroupRecord, record: &RunRecord) -> Value {
    let tasks: Vec<&TaskRecord> = record.tasks.iter().filter(|task| record_group.tasks.contains(&task.name)).collect();
    let mut map = Map::new();
    map.insert("alias".into(), json!(record_group.alias.as_ref().unwrap_or(&record_group.name)));
    map.insert("name".into(), json!(record_group.name));
    if record_group.metrics.is_empty() {
        return map.into();
    }
    let documents = |tasks: &[&TaskRecord]| tasks.iter().map(|task| task.evaluated()).sum::<usize>();
    map.insert("sample_len".into(), json!(documents(&tasks)));
    let mut counts = Map::new();
    for GroupMetric { metric, weight_by_size, slots } in &record_group.metrics {
        let found: BTreeSet<&str> = tasks
            .iter()
            .flat_map(|task| task.metrics())
            .filter(|score| score.metric == *metric)
            .map(|score| score.slot.as_str())
            .collect();
        let slots: Vec<String> = slots.clone().unwrap_or_else(|| found.iter().map(|s| (*s).to_owned()).collect());
        for slot in slots {
            let parts: Vec<Part> = tasks
                .iter()
                .filter_map(|task| {
                    let score = task.metrics().find(|s| s.metric == *metric && s.slot == slot)?;
                    let Estimate { value, standard_error, .. } = score.estimate;
                    Some(Part { value, standard_error, documents: task.evaluated() as u64 })
                })
                .collect();
            if let Some(mean) = group(&parts, *weight_by_size) {
                map.insert(format!("{metric},{slot}"), number(Some(mean.value)));
                map.insert(format!("{metric}_stderr,{slot}"), number(mean.standard_error));
                counts.insert(format!("{metric},{slot}"), json!(mean.documents));
            }
        }
    }
    map.insert("sample_count".into(), counts.into());
    map.into()
}

/// The three hashes of a sample, as the harness makes them.
#[must_use]
pub(crate) fn sample_hashes(sample: &SampleRecord) -> [String; 3] {
    let prompt = sample.arguments.first().map_or("", |(context, _)| context.as_str());
    [json::document_hash(&sample.doc), json::hash(prompt), json::hash(&json::str(&sample.target))]
}

/// The hash of a task: of the hashes of all its samples, once a filter slot.
#[must_use]
pub(crate) fn task_hash(task: &TaskRecord) -> String {
    let each = |run: &TaskRun| {
        let once: String = run.samples.iter().flat_map(sample_hashes).collect();
        once.repeat(run.scores.slots.len().max(1))
    };
    json::hash(&task.runs.iter().map(each).collect::<String>())
}

/// The lines of a task's samples file: every filter slot in turn, all documents of each.
pub(crate) fn sample_lines(task: &TaskRecord) -> impl Iterator<Item = Value> + '_ {
    task.runs.iter().flat_map(|run| run.scores.slots.iter().map(move |slot| (run, slot))).flat_map(|(run, slot)| {
        run.samples.iter().zip(&slot.documents).map(move |(sample, document)| sample_json(sample, slot, document))
    })
}

fn sample_json(sample: &SampleRecord, slot: &SlotScores, document: &DocumentScores) -> Value {
    let score = |score: &crate::eval::language_model::Score| {
        json!([json::float(score.logprob), if score.is_greedy { "True" } else { "False" }])
    };
    let (responses, filtered): (Vec<Value>, Vec<Value>) = match &sample.outcome {
        Outcome::Choice { scores, .. } => scores.iter().map(|s| (json!([score(s)]), score(s))).unzip(),
        Outcome::Continuation { score: s } => (vec![json!([score(s)])], vec![score(s)]),
        Outcome::Rolling { logprob, .. } => {
            let text = json::float(*logprob);
            (vec![json!([text])], vec![json!(text)])
        }
        Outcome::Text { responses, .. } => {
            (vec![json!(responses)], vec![stringed(document.response.as_ref().unwrap_or(&Value::Null))])
        }
    };
    let arguments: Map<String, Value> = sample
        .arguments
        .iter()
        .enumerate()
        .map(|(index, (first, second))| (format!("gen_args_{index}"), json!({"arg_0": first, "arg_1": second})))
        .collect();
    let [doc_hash, prompt_hash, target_hash] = sample_hashes(sample);
    let mut line = Map::new();
    line.insert("doc_id".into(), json!(sample.doc_id));
    line.insert("doc".into(), sample.doc.clone());
    line.insert("target".into(), json!(json::str(&sample.target)));
    line.insert("arguments".into(), arguments.into());
    line.insert("resps".into(), responses.into());
    line.insert("filtered_resps".into(), filtered.into());
    line.insert("filter".into(), json!(slot.slot));
    line.insert("metrics".into(), document.values.iter().map(|(metric, _)| json!(metric)).collect());
    line.insert("doc_hash".into(), json!(doc_hash));
    line.insert("prompt_hash".into(), json!(prompt_hash));
    line.insert("target_hash".into(), json!(target_hash));
    for (metric, value) in &document.values {
        line.insert(metric.clone(), value.to_json());
    }
    line.into()
}

/// Nested lists of texts, as the harness makes of anything it filters.
fn stringed(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(stringed).collect(),
        other => json!(json::str(other)),
    }
}
