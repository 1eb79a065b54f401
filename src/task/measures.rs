//! Scoring settings of a task file: `metric_list`, `filter_list`, and ours under `metadata`.

use serde_json::{Map, Value};

use super::config::{OutputType, Protocol, Role};
use super::reader::{Flag, Reader};
use super::spec::{FILTER_FUNCTIONS, FilterPipeline, FilterStep, METRIC_OPTIONS, MetricSpec, REFUSED_FUNCTIONS};
use crate::python::yaml_scalars::json;
use crate::yaml::{Diagnostics, Field, Fields, Kind};

/// Keys of an entry of `metric_list`, besides the metric's own options.
const METRIC_KEYS: &[&str] = &["metric", "aggregation", "higher_is_better", "hf_evaluate"];
/// Most new tokens of a written label: more than any model reads.
const MOST_TOKENS: u64 = 1 << 24;

impl Reader<'_> {
    /// `metric_list`, then `metadata.metrics`: names that the harness does not know stand there, so
    /// that it can still read the file.
    pub(super) fn metrics(&mut self, output_type: Option<OutputType>) -> Vec<MetricSpec> {
        let mut metrics = match self.given("metric_list") {
            Some((field, diagnostics)) => metric_list(field, diagnostics),
            None => output_type.map_or(&[][..], OutputType::default_metrics).iter().copied().map(plain).collect(),
        };
        if let Some((field, diagnostics)) = self.given("metadata")
            && let Some(own) = Fields::within(field.node).get("metrics")
        {
            metrics.extend(metric_list(own, diagnostics));
        }
        metrics
    }

    pub(super) fn filters(&mut self) -> Vec<FilterPipeline> {
        let Some((field, diagnostics)) = self.given("filter_list") else { return Vec::new() };
        let mut filters = Vec::new();
        for item in field.some_items(diagnostics).unwrap_or(&[]) {
            let fields = Fields::within(item);
            let name = fields.get("name").and_then(Field::scalar);
            let steps = fields.get("filter").filter(|steps| matches!(steps.node.kind, Kind::Sequence(_)));
            let (Some(name), Some(steps)) = (name, steps) else {
                let help = "`- name: NAME` and `filter: [{function: FUNCTION, ...}]`";
                let message = "an entry of `filter_list` lacks its name or its steps";
                diagnostics.error_help(item.span, message, help);
                continue;
            };
            fields.known("key of a filter pipeline", &["name", "filter"], diagnostics);
            let steps = steps.items(diagnostics).unwrap_or(&[]);
            let steps = steps.iter().filter_map(|item| step(Fields::within(item), diagnostics));
            filters.push(FilterPipeline { name: name.to_owned(), steps: steps.collect() });
        }
        filters
    }

    /// Checks `metadata.max_gen_toks`, new tokens of a written label, and `metadata.pixiu`, how such a label is read.
    pub(super) fn written_labels(&mut self) {
        let Some((metadata, diagnostics)) = self.given("metadata") else { return };
        let fields = Fields::within(metadata.node);
        if let Some(field) = fields.get("max_gen_toks") {
            field.bounded(json(field.node).as_u64(), 1..=MOST_TOKENS, diagnostics);
        }
        let Some(pixiu) = fields.given("pixiu").and_then(|field| field.fields(diagnostics)) else { return };
        let texts = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        for field in pixiu.iter() {
            let value = json(field.node);
            let fits = match field.name {
                "exact_first" => value.is_boolean(),
                "default" => value.is_string(),
                "synonyms" => value.as_object().is_some_and(|map| map.values().all(texts)),
                _ => false,
            };
            if !fits {
                let help = "`exact_first: true`, `default: TEXT`, `synonyms: {CHOICE: [TEXT, ...]}`";
                let message = format!("`pixiu` cannot have `{}: {value}`", field.name);
                diagnostics.error_help(field.key, message, help);
            }
        }
    }

    pub(super) fn role(&mut self) -> Option<Role> {
        let (metadata, diagnostics) = self.given("metadata")?;
        let roles = [Role::Seen, Role::Unseen, Role::General].map(|role| (role.name(), role));
        Fields::within(metadata.node).get("role")?.one_of("role", &roles, diagnostics)
    }

    pub(super) fn protocols(&mut self, output_type: Option<OutputType>) -> Vec<Protocol> {
        let choice = output_type == Some(OutputType::MultipleChoice);
        let metadata = self.given("metadata");
        let list =
            metadata.and_then(|(field, diagnostics)| Some((Fields::within(field.node).get("protocols")?, diagnostics)));
        let Some((field, diagnostics)) = list else {
            return if choice { vec![Protocol::ChoiceLl] } else { Vec::new() };
        };
        if !choice {
            diagnostics.error(field.node.span, "`protocols` is for `output_type: multiple_choice`");
        }
        let known = [Protocol::ChoiceLl, Protocol::PixiuGen, Protocol::StrictGen].map(|known| (known.name(), known));
        let items = field.some_items(diagnostics).unwrap_or(&[]);
        items.iter().filter_map(|item| field.element(item).one_of("protocol", &known, diagnostics)).collect()
    }
}

/// A metric without options.
fn plain(name: &str) -> MetricSpec {
    MetricSpec { name: name.to_owned(), aggregation: None, higher_is_better: None, arguments: Map::new() }
}

fn metric_list(list: Field<'_>, diagnostics: &mut Diagnostics) -> Vec<MetricSpec> {
    let mut metrics = Vec::new();
    for item in list.some_items(diagnostics).unwrap_or(&[]) {
        if let Some(name) = item.text() {
            metric_options(list.element(item), name, diagnostics);
            metrics.push(plain(name));
            continue;
        }
        let fields = Fields::within(item);
        let named = fields.get("metric").and_then(|field| Some((field, field.scalar()?)));
        let Some((field, name)) = named else {
            diagnostics.error(item.span, "an entry of the list of metrics has no `metric`");
            continue;
        };
        let options = metric_options(field, name, diagnostics);
        metrics.push(metric(name, options, fields, diagnostics));
    }
    metrics
}

/// The metric's options; `None` after an error about its name.
fn metric_options(field: Field<'_>, name: &str, diagnostics: &mut Diagnostics) -> Option<&'static [&'static str]> {
    let options = METRIC_OPTIONS.iter().find(|(known, _)| *known == name).map(|(_, options)| *options);
    if options.is_none() {
        let names: Vec<&str> = METRIC_OPTIONS.iter().map(|(name, _)| *name).collect();
        diagnostics.unknown(field.node.span, "metric", name, &names);
    }
    options
}

fn metric(
    name: &str,
    options: Option<&'static [&'static str]>,
    fields: Fields<'_>,
    diagnostics: &mut Diagnostics,
) -> MetricSpec {
    let mut spec = plain(name);
    for field in fields.iter() {
        match field.name {
            "metric" => {}
            "hf_evaluate" | "aggregation" | "higher_is_better" if field.is_null() => {}
            "hf_evaluate" if json(field.node) == Value::Bool(false) => {}
            "hf_evaluate" => {
                let help = "billon has its own metrics and downloads none";
                let message = format!("metric `{name}` with `hf_evaluate` is not supported");
                diagnostics.error_help(field.key, message, help);
            }
            "aggregation" => match json(field.node) {
                Value::String(text) => spec.aggregation = Some(text),
                _ => field.expected("a name", diagnostics),
            },
            "higher_is_better" => spec.higher_is_better = field.read::<Flag>(diagnostics).map(|flag| flag.0),
            other => {
                // Of an unknown metric any option may be meant.
                let known: Vec<&str> = match options {
                    Some(options) => options.to_vec(),
                    None => METRIC_OPTIONS.iter().flat_map(|(_, options)| options.iter().copied()).collect(),
                };
                if known.contains(&other) {
                    spec.arguments.insert(other.to_owned(), json(field.node));
                } else {
                    let known = [METRIC_KEYS, &known].concat();
                    diagnostics.unknown(field.key, &format!("option of metric `{name}`"), other, &known);
                }
            }
        }
    }
    spec
}

/// A step of a pipeline; `None` after an error.
fn step(fields: Fields<'_>, diagnostics: &mut Diagnostics) -> Option<FilterStep> {
    let named = fields.get("function").and_then(|field| Some((field, field.scalar()?)));
    let Some((field, name)) = named else {
        diagnostics.error(fields.span(), "a step of a filter has no `function`");
        return None;
    };
    let arguments = match FILTER_FUNCTIONS.iter().find(|(known, _)| *known == name) {
        Some((_, arguments)) => *arguments,
        None if REFUSED_FUNCTIONS.contains(&name) => {
            diagnostics.error(field.node.span, format!("filter function `{name}` is not supported"));
            return None;
        }
        None => {
            let names: Vec<&str> = FILTER_FUNCTIONS.iter().map(|(name, _)| *name).collect();
            diagnostics.unknown(field.node.span, "filter function", name, &names);
            return None;
        }
    };
    let mut map = Map::new();
    for field in fields.iter().filter(|field| field.name != "function") {
        if arguments.contains(&field.name) {
            map.insert(field.name.to_owned(), json(field.node));
        } else {
            diagnostics.unknown(field.key, &format!("argument of `{name}`"), field.name, arguments);
        }
    }
    Some(FilterStep { function: name.to_owned(), arguments: map })
}
