//! Registry of metrics: their inputs and options.

use serde_json::{Map, Value};

use super::statistic::Statistic;
use crate::error::{Diagnose, ErrorKind};
use crate::suggest::nearest;
use crate::task::spec::MetricSpec;

/// Input of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scored {
    /// The log-probabilities of a document's choices.
    Choices,
    /// A predicted label: of scored choices, or of a written answer under a label protocol.
    Labels,
    /// A written answer.
    Text,
    /// The log-probability of one continuation.
    Continuation,
    /// The log-probability of a whole text.
    Rolling,
}

/// A metric's computation for one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) enum Kind {
    Acc,
    AccNorm,
    AccBytes,
    AccMutualInfo,
    ExactMatch,
    NumericMatch,
    Labels,
    MissingRate,
    AvgF1,
    Brier,
    Likelihood,
    EntityF1,
    Perplexity,
    WordPerplexity,
    BytePerplexity,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MetricInfo {
    /// Name in task files and results.
    pub name: &'static str,
    /// Other names it answers to.
    pub aliases: &'static [&'static str],
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Aggregation, unless the task file names another.
    pub statistic: Statistic,
    /// Inputs that it can be computed from.
    pub scored: &'static [Scored],
    /// Keys of `metric_list` entries that it understands.
    pub arguments: &'static [&'static str],
    pub kind: Kind,
}

impl MetricInfo {
    /// Whether the choices' log-probabilities after an empty context are needed.
    #[must_use]
    pub(crate) fn needs_unconditional(&self) -> bool {
        self.kind == Kind::AccMutualInfo
    }
}

const CHOICES: &[Scored] = &[Scored::Choices];
const LABELS: &[Scored] = &[Scored::Choices, Scored::Labels];
const TEXT: &[Scored] = &[Scored::Text];

const fn metric(name: &'static str, statistic: Statistic, scored: &'static [Scored], kind: Kind) -> MetricInfo {
    MetricInfo { name, aliases: &[], higher_is_better: true, statistic, scored, arguments: &[], kind }
}

/// All metrics.
pub(crate) const REGISTRY: &[MetricInfo] = &[
    metric("acc", Statistic::Mean, &[Scored::Choices, Scored::Labels, Scored::Continuation], Kind::Acc),
    metric("acc_norm", Statistic::Mean, CHOICES, Kind::AccNorm),
    metric("acc_bytes", Statistic::Mean, CHOICES, Kind::AccBytes),
    metric("acc_mutual_info", Statistic::Mean, CHOICES, Kind::AccMutualInfo),
    MetricInfo {
        arguments: &["regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers"],
        ..metric("exact_match", Statistic::Mean, &[Scored::Choices, Scored::Text], Kind::ExactMatch)
    },
    MetricInfo { arguments: &["tolerance"], ..metric("numeric_match", Statistic::Mean, TEXT, Kind::NumericMatch) },
    metric("f1", Statistic::F1, LABELS, Kind::Labels),
    MetricInfo { aliases: &["weighted_f1"], ..metric("f1_weighted", Statistic::F1Weighted, LABELS, Kind::Labels) },
    MetricInfo { aliases: &["macro_f1"], ..metric("f1_macro", Statistic::F1Macro, LABELS, Kind::Labels) },
    MetricInfo { aliases: &["micro_f1"], ..metric("f1_micro", Statistic::F1Micro, LABELS, Kind::Labels) },
    metric("mcc", Statistic::Mcc, LABELS, Kind::Labels),
    MetricInfo {
        aliases: &["missing"],
        higher_is_better: false,
        ..metric("missing_rate", Statistic::Mean, LABELS, Kind::MissingRate)
    },
    MetricInfo { arguments: &["question_field"], ..metric("avg_f1", Statistic::AverageF1, LABELS, Kind::AvgF1) },
    MetricInfo { higher_is_better: false, ..metric("brier_score", Statistic::Brier, CHOICES, Kind::Brier) },
    metric("likelihood", Statistic::Mean, CHOICES, Kind::Likelihood),
    MetricInfo {
        arguments: &["format", "text_field", "tokens_field", "tags_field"],
        ..metric("entity_f1", Statistic::EntityF1, TEXT, Kind::EntityF1)
    },
    MetricInfo {
        higher_is_better: false,
        ..metric("perplexity", Statistic::Perplexity, &[Scored::Continuation], Kind::Perplexity)
    },
    MetricInfo {
        higher_is_better: false,
        ..metric("word_perplexity", Statistic::WeightedPerplexity, &[Scored::Rolling], Kind::WordPerplexity)
    },
    MetricInfo {
        higher_is_better: false,
        ..metric("byte_perplexity", Statistic::WeightedPerplexity, &[Scored::Rolling], Kind::BytePerplexity)
    },
    MetricInfo {
        higher_is_better: false,
        ..metric("bits_per_byte", Statistic::BitsPerByte, &[Scored::Rolling], Kind::BytePerplexity)
    },
];

/// The metric of a name or alias.
///
/// # Errors
/// [`MetricError::Unknown`] with the nearest known name.
pub(crate) fn find(name: &str) -> Result<&'static MetricInfo, MetricError> {
    REGISTRY
        .iter()
        .find(|info| info.name == name || info.aliases.contains(&name))
        .ok_or_else(|| MetricError::Unknown { name: name.to_owned() })
}

/// A metric of a task with its options read.
#[derive(Debug, Clone)]
pub(crate) struct Metric {
    /// The name as the task file writes it, which names the results' keys.
    pub name: String,
    pub info: &'static MetricInfo,
    /// Aggregation over documents.
    pub statistic: Statistic,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Options, of which the metric knows every key.
    pub arguments: Map<String, Value>,
}

impl Metric {
    /// Reads an entry of `metric_list`.
    ///
    /// # Errors
    /// An unknown metric, aggregation or option.
    pub(crate) fn new(spec: &MetricSpec) -> Result<Self, MetricError> {
        let info = find(&spec.name)?;
        for key in spec.arguments.keys() {
            if !info.arguments.contains(&key.as_str()) {
                return Err(MetricError::UnknownArgument {
                    metric: spec.name.clone(),
                    key: key.clone(),
                    known: info.arguments,
                });
            }
        }
        let statistic = match spec.aggregation.as_deref() {
            None => info.statistic,
            Some(name) if name == info.statistic.name() => info.statistic,
            // The harness's own name of its F1 is fine for any of the family.
            Some("mean" | "nanmean") if info.statistic.is_mean() => info.statistic,
            Some("median") if info.statistic == Statistic::Mean => Statistic::Median,
            Some(name) => {
                return Err(MetricError::Aggregation {
                    metric: spec.name.clone(),
                    found: name.to_owned(),
                    expected: info.statistic.name(),
                });
            }
        };
        Ok(Self {
            name: spec.name.clone(),
            info,
            statistic,
            higher_is_better: spec.higher_is_better.unwrap_or(info.higher_is_better),
            arguments: spec.arguments.clone(),
        })
    }
}

/// Reasons why a metric cannot be computed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum MetricError {
    #[error("unknown metric `{name}`")]
    Unknown { name: String },
    #[error("metric `{metric}` has no option `{key}`")]
    UnknownArgument { metric: String, key: String, known: &'static [&'static str] },
    #[error("option `{key}` of metric `{metric}` is {found}, not {expected}")]
    Argument { metric: String, key: String, expected: &'static str, found: String },
    #[error("aggregation `{found}` does not fit metric `{metric}`, which uses `{expected}`")]
    Aggregation { metric: String, found: String, expected: &'static str },
    #[error("pattern `{pattern}` of `{metric}` cannot be used: {reason}")]
    Pattern { metric: String, pattern: String, reason: String },
    #[error("`exact_match` of document {document} cannot be computed")]
    Search { document: usize, source: crate::python::regex::SearchError },
    #[error("metric `{metric}` cannot be computed from {found}")]
    Outcome { metric: String, found: &'static str },
    #[error("metric `{metric}` needs a label protocol to read labels from written answers")]
    NeedsProtocol { metric: String },
    #[error("protocol `{protocol}` cannot be used with {found}")]
    Protocol { protocol: &'static str, found: &'static str },
    #[error("metric `f1` is binary, but document {document} has label {label}")]
    NotBinary { document: usize, label: i32 },
    #[error("metric `{metric}` needs the field `{field}` of document {document}")]
    Field { metric: String, field: String, document: usize },
    #[error("document {document} has a log-probability that is not a number")]
    NotANumber { document: usize },
    #[error("document {document} has no response")]
    NoResponse { document: usize },
    #[error("there are {outcomes} answers for {docs} documents")]
    Lengths { outcomes: usize, docs: usize },
    #[error("there are no documents to score")]
    Empty,
    #[error("metric `{name}` stands twice in the metric list")]
    Twice { name: String },
}

impl MetricError {
    /// An option with a value of the wrong type.
    #[must_use]
    pub(crate) fn argument(metric: &str, key: &str, expected: &'static str, found: &Value) -> Self {
        Self::Argument { metric: metric.to_owned(), key: key.to_owned(), expected, found: found.to_string() }
    }
}

impl Diagnose for MetricError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotANumber { .. } | Self::Lengths { .. } => ErrorKind::Internal,
            Self::NoResponse { .. } | Self::Empty | Self::Field { .. } | Self::NotBinary { .. } => ErrorKind::Input,
            _ => ErrorKind::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown { name } => {
                let known: Vec<&str> = REGISTRY
                    .iter()
                    .flat_map(|info| std::iter::once(info.name).chain(info.aliases.iter().copied()))
                    .collect();
                vec![match nearest(name, &known) {
                    Some(candidate) => format!("did you mean `{candidate}`?"),
                    None => format!("known metrics: {}", known.join(", ")),
                }]
            }
            Self::UnknownArgument { key, known, .. } => vec![match nearest(key, known) {
                Some(candidate) => format!("did you mean `{candidate}`?"),
                None if known.is_empty() => "it has no options".to_owned(),
                None => format!("its options: {}", known.join(", ")),
            }],
            Self::NotBinary { .. } => {
                vec!["use `f1_macro`, `f1_weighted` or `f1_micro` for more than two classes".to_owned()]
            }
            Self::NeedsProtocol { .. } => vec!["choose the protocol `pixiu-gen` or `strict-gen`".to_owned()],
            Self::NotANumber { .. } => vec!["the model's weights or activations overflow; try f32 weights".to_owned()],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::task::spec::{JUDGED, METRIC_OPTIONS};

    /// Task files are checked against a table of their own, lines and all, before metrics are built.
    #[test]
    fn task_files_know_every_metric_with_its_options() {
        let names = |info: &'static MetricInfo| std::iter::once(info.name).chain(info.aliases.iter().copied());
        let ours: BTreeMap<&str, &[&str]> =
            REGISTRY.iter().flat_map(|info| names(info).map(|name| (name, info.arguments))).collect();
        let mut table: BTreeMap<&str, &[&str]> = METRIC_OPTIONS.iter().copied().collect();
        table.remove(JUDGED);
        assert_eq!(table, ours);
    }
}
