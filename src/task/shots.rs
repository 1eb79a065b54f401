//! Few-shot settings of a task file: `fewshot_split`, `fewshot_config`.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::config::{FewShotConfig, Sampler};
use super::schema::{Reader, mapping, quote_hint};
use crate::python::yaml_scalars::json;
use crate::yaml::Kind;

const FEWSHOT_KEYS: &[&str] = &[
    "sampler",
    "split",
    "samples",
    "fewshot_indices",
    "doc_to_text",
    "doc_to_target",
    "doc_to_choice",
    "gen_prefix",
    "target_delimiter",
    "fewshot_delimiter",
];

impl Reader<'_> {
    /// `fewshot_split` and `fewshot_config`, with what they inherit from the task.
    pub(super) fn fewshot(
        &mut self,
        files: &IndexMap<String, Vec<String>>,
        target: &str,
        delimiter: &str,
    ) -> FewShotConfig {
        let mut config = FewShotConfig {
            sampler: Sampler::Default,
            split: self.split("fewshot_split", files),
            samples: None,
            indices: None,
            doc_to_text: None,
            doc_to_target: None,
            doc_to_choice: None,
            gen_prefix: self.text("gen_prefix"),
            target_delimiter: target.to_owned(),
            fewshot_delimiter: delimiter.to_owned(),
        };
        let Some(entry) = self.get("fewshot_config").cloned() else { return config };
        let Some(keys) = mapping(&entry.node) else {
            self.fault("fewshot_config", None, "`fewshot_config` must be a mapping", "");
            return config;
        };
        for (key, node) in keys.iter().filter(|(_, node)| node.kind != Kind::Null) {
            let (name, value, span) = (key.value.as_str(), json(node), Some(node.span));
            let text = || match &value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            };
            if ["split", "gen_prefix", "target_delimiter", "fewshot_delimiter"].contains(&name) && text().is_none() {
                self.fault("fewshot_config", span, format!("`{name}` must be a text"), quote_hint(&value));
                continue;
            }
            match name {
                "sampler" => match value.as_str() {
                    Some("default") => config.sampler = Sampler::Default,
                    Some("first_n") => config.sampler = Sampler::FirstN,
                    Some("balanced") => config.sampler = Sampler::Balanced,
                    _ => self.fault(
                        "fewshot_config",
                        span,
                        "unknown sampler",
                        "known: default, first_n, and billon's own balanced",
                    ),
                },
                "split" => config.split = text(),
                "samples" => {
                    let samples: Option<Vec<Map<String, Value>>> =
                        value.as_array().map(|list| list.iter().filter_map(|item| item.as_object().cloned()).collect());
                    if samples.as_ref().map(Vec::len) != value.as_array().map(Vec::len) || samples.is_none() {
                        self.fault("fewshot_config", span, "`samples` must be a list of documents", "");
                    }
                    config.samples = samples;
                }
                "fewshot_indices" => {
                    let list: Option<Vec<usize>> = value
                        .as_array()
                        .and_then(|list| list.iter().map(|item| item.as_u64().map(|n| n as usize)).collect());
                    if list.is_none() {
                        self.fault("fewshot_config", span, "`fewshot_indices` must be a list of places from 0", "");
                    }
                    config.indices = list.filter(|list| !list.is_empty());
                }
                "doc_to_text" => config.doc_to_text = self.field_of("fewshot_config", span, value),
                "doc_to_target" => config.doc_to_target = self.field_of("fewshot_config", span, value),
                "doc_to_choice" => config.doc_to_choice = self.field_of("fewshot_config", span, value),
                "gen_prefix" => config.gen_prefix = text(),
                "target_delimiter" => config.target_delimiter = text().unwrap_or(config.target_delimiter),
                "fewshot_delimiter" => config.fewshot_delimiter = text().unwrap_or(config.fewshot_delimiter),
                "process_docs" => {
                    self.fault("fewshot_config", Some(key.span), "`process_docs` is not supported: it runs Python", "");
                }
                _ => {
                    if let Some(diagnostics) = self.files.of(entry.file) {
                        diagnostics.unknown(key.span, "key of `fewshot_config`", name, FEWSHOT_KEYS);
                    }
                }
            }
        }
        config
    }
}
