//! Few-shot settings of a task file: `fewshot_split`, `fewshot_config`.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::config::{FewShotConfig, Sampler};
use super::reader::{Reader, Text};
use crate::python::yaml_scalars::json;
use crate::yaml::{Diagnostics, Field};

/// Names of samplers; `balanced` is ours.
const SAMPLERS: &[(&str, Sampler)] =
    &[("default", Sampler::Default), ("first_n", Sampler::FirstN), ("balanced", Sampler::Balanced)];

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
        let Some((field, diagnostics)) = self.given("fewshot_config") else { return config };
        let Some(fields) = field.fields(diagnostics) else { return config };
        for field in fields.iter().filter(|field| !field.is_null()) {
            match field.name {
                "sampler" => {
                    let sampler = field.one_of("sampler", SAMPLERS, diagnostics);
                    config.sampler = sampler.unwrap_or(config.sampler);
                }
                "split" => config.split = text(field, diagnostics),
                "samples" => config.samples = samples(field, diagnostics),
                "fewshot_indices" => config.indices = indices(field, diagnostics).filter(|list| !list.is_empty()),
                "doc_to_text" => config.doc_to_text = field.read(diagnostics),
                "doc_to_target" => config.doc_to_target = field.read(diagnostics),
                "doc_to_choice" => config.doc_to_choice = field.read(diagnostics),
                "gen_prefix" => config.gen_prefix = text(field, diagnostics),
                "target_delimiter" => {
                    config.target_delimiter = text(field, diagnostics).unwrap_or(config.target_delimiter);
                }
                "fewshot_delimiter" => {
                    config.fewshot_delimiter = text(field, diagnostics).unwrap_or(config.fewshot_delimiter);
                }
                "process_docs" => {
                    diagnostics.error(field.key, "`process_docs` is not supported: it runs Python");
                }
                name => diagnostics.unknown(field.key, "key of `fewshot_config`", name, FEWSHOT_KEYS),
            }
        }
        config
    }
}

fn text(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<String> {
    field.read::<Text>(diagnostics).map(|text| text.0)
}

/// Examples written in the file.
fn samples(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<Map<String, Value>>> {
    let list = json(field.node);
    let documents = list.as_array().and_then(|list| list.iter().map(|item| item.as_object().cloned()).collect());
    if documents.is_none() {
        field.expected("a list of documents", diagnostics);
    }
    documents
}

/// Places in the split.
fn indices(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<usize>> {
    let list = json(field.node);
    let places = list.as_array().and_then(|list| list.iter().map(|item| item.as_u64().map(|n| n as usize)).collect());
    if places.is_none() {
        field.expected("a list of places from 0", diagnostics);
    }
    places
}
