//! Filters and metrics of a task file, before anyone computes them.

use serde_json::{Map, Value};

/// Metrics by all their names, with the options of their `metric_list` entries.
pub(crate) const METRIC_OPTIONS: &[(&str, &[&str])] = &[
    ("acc", &[]),
    ("acc_norm", &[]),
    ("acc_bytes", &[]),
    ("acc_mutual_info", &[]),
    ("exact_match", &["regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers"]),
    ("numeric_match", &["tolerance"]),
    ("f1", &[]),
    ("f1_weighted", &[]),
    ("weighted_f1", &[]),
    ("f1_macro", &[]),
    ("macro_f1", &[]),
    ("f1_micro", &[]),
    ("micro_f1", &[]),
    ("mcc", &[]),
    ("missing_rate", &[]),
    ("missing", &[]),
    ("avg_f1", &["question_field"]),
    ("brier_score", &[]),
    ("likelihood", &[]),
    ("entity_f1", &["format", "text_field", "tokens_field", "tags_field"]),
    ("perplexity", &[]),
    ("word_perplexity", &[]),
    ("byte_perplexity", &[]),
    ("bits_per_byte", &[]),
    (JUDGED, &[]),
];

/// The metric that a judge scores; no arithmetic does.
pub(crate) const JUDGED: &str = "llm_judge";

/// Functions of filter pipelines, with their arguments.
pub(crate) const FILTER_FUNCTIONS: &[(&str, &[&str])] = &[
    ("take_first", &[]),
    ("take_first_k", &["k"]),
    ("majority_vote", &[]),
    ("regex", &["regex_pattern", "group_select", "fallback"]),
    ("regex_pos", &["regex_pattern", "group_select", "fallback"]),
    (
        "multi_choice_regex",
        &["regex_pattern", "group_select", "fallback", "ignore_case", "ignore_punctuation", "regexes_to_ignore"],
    ),
    ("remove_whitespace", &[]),
    ("lowercase", &[]),
    ("uppercase", &[]),
    ("map", &["mapping_dict", "default_value"]),
];

/// Functions of the harness that are not supported.
pub(crate) const REFUSED_FUNCTIONS: &[&str] = &["format_span", "custom", "decontaminate"];

/// One entry of `metric_list`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSpec {
    /// The metric's name, as in the results' keys.
    pub name: String,
    /// `aggregation`, where the file gives one.
    pub aggregation: Option<String>,
    /// `higher_is_better`, where the file gives one.
    pub higher_is_better: Option<bool>,
    /// The remaining keys, which are the metric's own arguments.
    pub arguments: Map<String, Value>,
}

/// One named pipeline of `filter_list`.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterPipeline {
    /// The pipeline's name: the part after the comma of the results' keys.
    pub name: String,
    /// Steps in order.
    pub steps: Vec<FilterStep>,
}

/// One step of a filter pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterStep {
    pub function: String,
    /// The remaining keys.
    pub arguments: Map<String, Value>,
}
