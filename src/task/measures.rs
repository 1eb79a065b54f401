//! Scoring settings of a task file: `metric_list`, `filter_list`, and ours under `metadata`.

use serde_json::{Map, Value};

use super::config::{OutputType, Protocol, Role};
use super::file::Entry;
use super::schema::{Reader, mapping};
use super::spec::{FILTER_FUNCTIONS, FilterPipeline, FilterStep, METRIC_OPTIONS, MetricSpec, REFUSED_FUNCTIONS};
use crate::python::yaml_scalars::json;
use crate::yaml::{Kind, Node, Span, Spanned};

/// Keys of an entry of `metric_list`, besides the metric's own options.
const METRIC_KEYS: &[&str] = &["metric", "aggregation", "higher_is_better", "hf_evaluate"];

fn items(node: &Node) -> &[Node] {
    match &node.kind {
        Kind::Sequence(items) => items,
        _ => &[],
    }
}

fn find<'a>(keys: &'a [(Spanned<String>, Node)], name: &str) -> Option<&'a (Spanned<String>, Node)> {
    keys.iter().find(|(key, _)| key.value == name)
}

impl Reader<'_> {
    fn unknown(&mut self, entry: &Entry, span: Span, what: &str, name: &str, known: &[&str]) {
        if let Some(diagnostics) = self.files.of(entry.file) {
            diagnostics.unknown(span, what, name, known);
        }
    }

    /// `metric_list`, then `metadata.metrics`: names that the harness does not know stand there, so
    /// that it can still read the file.
    pub(super) fn metrics(&mut self, output_type: Option<OutputType>) -> Vec<MetricSpec> {
        let mut metrics = match self.get("metric_list").cloned() {
            Some(entry) => {
                let node = entry.node.clone();
                self.metric_list(&entry, &node)
            }
            None => {
                let names = output_type.map_or(&[][..], OutputType::default_metrics);
                let spec = |name: &&str| MetricSpec {
                    name: (*name).to_owned(),
                    aggregation: None,
                    higher_is_better: None,
                    arguments: Map::new(),
                };
                names.iter().map(spec).collect()
            }
        };
        let own = self.get("metadata").cloned();
        if let Some(entry) = own
            && let Some((_, node)) = mapping(&entry.node).and_then(|keys| find(keys, "metrics"))
        {
            let node = node.clone();
            metrics.extend(self.metric_list(&entry, &node));
        }
        metrics
    }

    fn metric_list(&mut self, entry: &Entry, list: &Node) -> Vec<MetricSpec> {
        let mut metrics = Vec::new();
        for item in items(list) {
            if let Some(name) = item.text() {
                self.metric_name(entry, item.span, name);
                let (name, arguments) = (name.to_owned(), Map::new());
                metrics.push(MetricSpec { name, aggregation: None, higher_is_better: None, arguments });
                continue;
            }
            let keys = mapping(item).unwrap_or(&[]);
            let Some((name, place)) = find(keys, "metric").and_then(|(_, node)| Some((node.text()?, node.span))) else {
                self.files.error(entry, item.span, "an entry of the list of metrics has no `metric`", "");
                continue;
            };
            let known = self.metric_name(entry, place, name);
            metrics.push(self.metric(entry, name, known, keys));
        }
        if metrics.is_empty() {
            self.files.error(entry, list.span, "the list of metrics names none", "");
        }
        metrics
    }

    /// The metric's options; `None` after an error about its name.
    fn metric_name(&mut self, entry: &Entry, span: Span, name: &str) -> Option<&'static [&'static str]> {
        let known = METRIC_OPTIONS.iter().find(|(known, _)| *known == name).map(|(_, options)| *options);
        if known.is_none() {
            let names: Vec<&str> = METRIC_OPTIONS.iter().map(|(name, _)| *name).collect();
            self.unknown(entry, span, "metric", name, &names);
        }
        known
    }

    fn metric(
        &mut self,
        entry: &Entry,
        name: &str,
        options: Option<&'static [&'static str]>,
        keys: &[(Spanned<String>, Node)],
    ) -> MetricSpec {
        let mut spec =
            MetricSpec { name: name.to_owned(), aggregation: None, higher_is_better: None, arguments: Map::new() };
        for (key, node) in keys {
            let value = json(node);
            match (key.value.as_str(), &value) {
                ("metric", _)
                | ("hf_evaluate" | "aggregation" | "higher_is_better", Value::Null)
                | ("hf_evaluate", Value::Bool(false)) => {}
                ("hf_evaluate", _) => {
                    let help = "billon has its own metrics and downloads none";
                    let message = format!("metric `{name}` with `hf_evaluate` is not supported");
                    self.files.error(entry, key.span, message, help);
                }
                ("aggregation", Value::String(text)) => spec.aggregation = Some(text.clone()),
                ("aggregation", _) => self.files.error(entry, node.span, "`aggregation` must be a name", ""),
                ("higher_is_better", Value::Bool(truth)) => spec.higher_is_better = Some(*truth),
                ("higher_is_better", _) => {
                    self.files.error(entry, node.span, "`higher_is_better` must be true or false", "");
                }
                (other, _) => {
                    // Of an unknown metric any option may be meant.
                    let known: Vec<&str> = match options {
                        Some(options) => options.to_vec(),
                        None => METRIC_OPTIONS.iter().flat_map(|(_, options)| options.iter().copied()).collect(),
                    };
                    if known.contains(&other) {
                        spec.arguments.insert(other.to_owned(), value);
                    } else {
                        let known = [METRIC_KEYS, &known].concat();
                        self.unknown(entry, key.span, &format!("option of metric `{name}`"), other, &known);
                    }
                }
            }
        }
        spec
    }

    pub(super) fn filters(&mut self) -> Vec<FilterPipeline> {
        let Some(entry) = self.get("filter_list").cloned() else { return Vec::new() };
        let node = entry.node.clone();
        let mut filters = Vec::new();
        for item in items(&node) {
            let keys = mapping(item).unwrap_or(&[]);
            let name = find(keys, "name").and_then(|(_, node)| node.text());
            let steps =
                find(keys, "filter").map(|(_, node)| node).filter(|node| matches!(node.kind, Kind::Sequence(_)));
            let (Some(name), Some(steps)) = (name, steps) else {
                let help = "`- name: NAME` and `filter: [{function: FUNCTION, ...}]`";
                let message = "an entry of `filter_list` lacks its name or its steps";
                self.files.error(&entry, item.span, message, help);
                continue;
            };
            for (key, _) in keys.iter().filter(|(key, _)| !["name", "filter"].contains(&key.value.as_str())) {
                self.unknown(&entry, key.span, "key of a filter pipeline", &key.value, &["name", "filter"]);
            }
            let steps = items(steps).iter().filter_map(|step| self.step(&entry, step)).collect();
            filters.push(FilterPipeline { name: name.to_owned(), steps });
        }
        if items(&node).is_empty() {
            self.files.error(&entry, node.span, "`filter_list` must be a list of named pipelines", "");
        }
        filters
    }

    /// A step of a pipeline; `None` after an error.
    fn step(&mut self, entry: &Entry, step: &Node) -> Option<FilterStep> {
        let keys = mapping(step).unwrap_or(&[]);
        let Some((name, place)) = find(keys, "function").and_then(|(_, node)| Some((node.text()?, node.span))) else {
            self.files.error(entry, step.span, "a step of a filter has no `function`", "");
            return None;
        };
        let arguments = match FILTER_FUNCTIONS.iter().find(|(known, _)| *known == name) {
            Some((_, arguments)) => *arguments,
            None if REFUSED_FUNCTIONS.contains(&name) => {
                self.files.error(entry, place, format!("filter function `{name}` is not supported"), "");
                return None;
            }
            None => {
                let names: Vec<&str> = FILTER_FUNCTIONS.iter().map(|(name, _)| *name).collect();
                self.unknown(entry, place, "filter function", name, &names);
                return None;
            }
        };
        let mut map = Map::new();
        for (key, node) in keys.iter().filter(|(key, _)| key.value != "function") {
            if arguments.contains(&key.value.as_str()) {
                map.insert(key.value.clone(), json(node));
            } else {
                self.unknown(entry, key.span, &format!("argument of `{name}`"), &key.value, arguments);
            }
        }
        Some(FilterStep { function: name.to_owned(), arguments: map })
    }

    /// `metadata.max_gen_toks`, new tokens of a written label, and `metadata.pixiu`, how such a label is
    /// read.
    pub(super) fn written_labels(&mut self, metadata: &Map<String, Value>) {
        if let Some(value) = metadata.get("max_gen_toks")
            && value.as_u64().is_none_or(|n| !(1..=1 << 24).contains(&n))
        {
            self.fault("metadata", None, format!("`max_gen_toks` must be a whole number above 0, not {value}"), "");
        }
        let Some(pixiu) = metadata.get("pixiu").filter(|value| !value.is_null()) else { return };
        let texts = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
        for (key, value) in pixiu.as_object().into_iter().flatten() {
            let fits = match key.as_str() {
                "exact_first" => value.is_boolean(),
                "default" => value.is_string(),
                "synonyms" => value.as_object().is_some_and(|map| map.values().all(texts)),
                _ => false,
            };
            if !fits {
                let help = "`exact_first: true`, `default: TEXT`, `synonyms: {CHOICE: [TEXT, ...]}`";
                self.fault("metadata", None, format!("`pixiu` cannot have `{key}: {value}`"), help);
            }
        }
        if !pixiu.is_object() {
            self.fault("metadata", None, "`pixiu` must be a mapping", "");
        }
    }

    pub(super) fn role(&mut self, metadata: &Map<String, Value>) -> Option<Role> {
        let name = metadata.get("role")?;
        let found = [Role::Seen, Role::Unseen, Role::General].into_iter().find(|r| name.as_str() == Some(r.name()));
        if found.is_none() {
            self.fault("metadata", None, format!("unknown role {name}"), "known: seen, unseen, general");
        }
        found
    }

    pub(super) fn protocols(
        &mut self,
        metadata: &Map<String, Value>,
        output_type: Option<OutputType>,
    ) -> Vec<Protocol> {
        let choice = output_type == Some(OutputType::MultipleChoice);
        let Some(list) = metadata.get("protocols") else {
            return if choice { vec![Protocol::ChoiceLl] } else { Vec::new() };
        };
        let mut protocols = Vec::new();
        for name in list.as_array().cloned().unwrap_or_else(Vec::new) {
            let all = [Protocol::ChoiceLl, Protocol::PixiuGen, Protocol::StrictGen];
            match all.into_iter().find(|p| name.as_str() == Some(p.name())) {
                Some(protocol) => protocols.push(protocol),
                None => {
                    let help = "known: choice-ll, pixiu-gen, strict-gen";
                    self.fault("metadata", None, format!("unknown protocol {name}"), help);
                }
            }
        }
        if !choice {
            self.fault("metadata", None, "`protocols` is for `output_type: multiple_choice`", "");
        } else if protocols.is_empty() {
            self.fault("metadata", None, "`protocols` must be a list of protocols", "");
        }
        protocols
    }
}
