//! What a task file says about filters and metrics, before anyone computes them.

use serde_json::{Map, Value};

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
    /// `function`.
    pub function: String,
    /// The remaining keys.
    pub arguments: Map<String, Value>,
}
