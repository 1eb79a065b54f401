//! From a task's outcomes to its scores.
//!
//! [`Scorer::new`] checks metrics, filters and protocol before a model runs; [`Scorer::score`] turns
//! the outcomes into numbers. Metric keys are `"<metric>,<slot>"`, where the slot is the protocol's
//! name, or that of the filter pipeline where no protocol was asked for (a plain task of the harness
//! keeps its `acc,none`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::filter::{Pipeline, Responses};
use super::interval::{Estimate, estimate};
use super::outcome::Outcome;
use super::protocol::{Protocol, gold_label};
use crate::error::Result;
use crate::eval::metrics::choice::Choices;
use crate::eval::metrics::entity::{entity_counts, tags_from_lines, tags_from_pairs};
use crate::eval::metrics::numeric::numeric_match;
use crate::eval::metrics::registry::{Kind, Metric};
use crate::eval::metrics::tally::{MISSING, NO_GOLD};
use crate::eval::metrics::text::ExactMatch;
use crate::eval::metrics::{DocumentValue, MetricError, Scored, Statistic, Tally};
use crate::python::regex::SearchError;
use crate::stats::resample::Resampling;
use crate::task::spec::{FilterPipeline, MetricSpec};

/// A task's metrics, checked.
#[derive(Debug, Clone)]
pub(crate) struct Scorer {
    metrics: Vec<(Metric, Option<ExactMatch>)>,
    pipelines: Vec<Pipeline>,
    protocol: Option<Protocol>,
    /// Metrics of scored choices that a generative protocol leaves out.
    skipped: Vec<String>,
}

/// Metrics of a task, by filter pipeline.
#[derive(Debug, Clone)]
pub(crate) struct TaskScores {
    /// Scores in the order of pipelines, then metrics.
    pub metrics: Vec<MetricScore>,
    /// Scores of each document under each pipeline.
    pub slots: Vec<SlotScores>,
    /// Things worth knowing, with the number of documents they concern.
    pub warnings: BTreeMap<String, usize>,
}

impl TaskScores {
    /// Adds a mean that is not computed from outcomes (a judge's) to the first slot; one value a
    /// document, or none where the document is not scored.
    pub(crate) fn add_mean(&mut self, metric: &str, values: &[Option<f64>], resampling: Resampling) {
        let Some(slot) = self.slots.first_mut() else { return };
        let scored: Vec<DocumentValue> = values.iter().flatten().map(|value| DocumentValue::Number(*value)).collect();
        let tally = Tally::new(Statistic::Mean, &scored);
        self.metrics.push(MetricScore {
            metric: metric.to_owned(),
            slot: slot.slot.clone(),
            estimate: estimate(&tally, resampling, &[metric, &slot.slot]),
            higher_is_better: true,
        });
        for (document, value) in slot.documents.iter_mut().zip(values) {
            document.values.extend(value.map(|value| (metric.to_owned(), DocumentValue::Number(value))));
        }
    }
}

/// One number of the results.
#[derive(Debug, Clone)]
pub(crate) struct MetricScore {
    pub metric: String,
    /// The filter slot of its key.
    pub slot: String,
    /// Score, standard error and interval.
    pub estimate: Estimate,
    /// Whether more is better.
    pub higher_is_better: bool,
}

impl MetricScore {
    /// `"<metric>,<slot>"`.
    #[must_use]
    pub(crate) fn key(&self) -> String {
        format!("{},{}", self.metric, self.slot)
    }
}

/// One filter slot over all documents, in their order.
#[derive(Debug, Clone)]
pub(crate) struct SlotScores {
    /// The slot's name.
    pub slot: String,
    /// One entry a document.
    pub documents: Vec<DocumentScores>,
}

/// One document in one slot: what a line of the samples file holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DocumentScores {
    /// The filtered response of a written answer; `None` for scored choices and continuations.
    pub response: Option<Value>,
    /// The predicted label, where there is one.
    pub predicted: Option<usize>,
    /// Metrics in the task's order.
    pub values: Vec<(String, DocumentValue)>,
}

impl Scorer {
    /// Checks what a task asks for. No pipelines mean the harness's default, the first response. Under a
    /// protocol of written answers, metrics of log-probabilities (`acc_norm`, `brier_score`, ...) are left
    /// out, which the scores' warnings say.
    ///
    /// # Errors
    /// Unknown metrics, functions and options, each with the nearest known one.
    pub(crate) fn new(
        metrics: &[MetricSpec],
        pipelines: &[FilterPipeline],
        protocol: Option<Protocol>,
    ) -> Result<Self> {
        let mut read: Vec<(Metric, Option<ExactMatch>)> = Vec::new();
        let mut skipped = Vec::new();
        for spec in metrics {
            let mut metric = Metric::new(spec)?;
            if protocol.as_ref().is_some_and(Protocol::is_generative) && metric.info.scored == [Scored::Choices] {
                skipped.push(metric.name);
                continue;
            }
            if read.iter().any(|(other, _)| other.name == metric.name) {
                return Err(MetricError::Twice { name: metric.name }.into());
            }
            // PIXIU's coefficient sees one class of unknown predictions.
            if metric.statistic == Statistic::Mcc && matches!(protocol, Some(Protocol::PixiuGen(_))) {
                metric.statistic = Statistic::MccPixiu;
            }
            check_arguments(&metric)?;
            let exact = match metric.info.kind {
                Kind::ExactMatch => Some(ExactMatch::new(&metric.arguments)?),
                _ => None,
            };
            read.push((metric, exact));
        }
        let mut built = pipelines.iter().map(Pipeline::new).collect::<Result<Vec<_>, _>>()?;
        if built.is_empty() {
            built.push(Pipeline::first());
        }
        Ok(Self { metrics: read, pipelines: built, protocol, skipped })
    }

    /// Whether a metric wants the choices' log-probabilities after an empty context.
    #[must_use]
    pub(crate) fn needs_unconditional(&self) -> bool {
        self.metrics.iter().any(|(metric, _)| metric.info.needs_unconditional())
    }

    /// The filter slots, in the order of the results.
    #[must_use]
    pub(crate) fn slots(&self) -> Vec<String> {
        let alone = self.pipelines.len() == 1;
        self.pipelines
            .iter()
            .map(|pipeline| match &self.protocol {
                None => pipeline.name().to_owned(),
                Some(protocol) if alone || pipeline.name() == "none" => protocol.name().to_owned(),
                Some(protocol) => format!("{}:{}", protocol.name(), pipeline.name()),
            })
            .collect()
    }

    /// Scores the outcomes of a task.
    ///
    /// # Errors
    /// A metric that cannot be computed from such outcomes, log-probabilities that are no numbers, a
    /// binary F1 of more than two classes, too few responses for a filter.
    pub(crate) fn score(&self, outcomes: &[Outcome], docs: &[Value], resampling: Resampling) -> Result<TaskScores> {
        if outcomes.is_empty() {
            return Err(MetricError::Empty.into());
        }
        if outcomes.len() != docs.len() {
            return Err(MetricError::Lengths { outcomes: outcomes.len(), docs: docs.len() }.into());
        }
        let mut scores = TaskScores { metrics: Vec::new(), slots: Vec::new(), warnings: BTreeMap::new() };
        for name in &self.skipped {
            let text = format!("metric `{name}` needs scored choices and is not computed from written answers");
            scores.warnings.insert(text, outcomes.len());
        }
        for (pipeline, slot) in self.pipelines.iter().zip(self.slots()) {
            let mut documents = Vec::with_capacity(outcomes.len());
            for (index, (outcome, doc)) in outcomes.iter().zip(docs).enumerate() {
                let mut reader = DocumentReader { scorer: self, index, doc, warnings: &mut scores.warnings };
                documents.push(reader.read(outcome, pipeline)?);
            }
            for (place, (metric, _)) in self.metrics.iter().enumerate() {
                let values: Vec<DocumentValue> = documents
                    .iter()
                    .filter_map(|document| document.values.get(place))
                    .map(|(_, v)| v.clone())
                    .collect();
                if metric.statistic == Statistic::F1 {
                    check_binary(&values)?;
                }
                let tally = Tally::new(metric.statistic, &values);
                scores.metrics.push(MetricScore {
                    metric: metric.name.clone(),
                    slot: slot.clone(),
                    estimate: estimate(&tally, resampling, &[&metric.name, &slot]),
                    higher_is_better: metric.higher_is_better,
                });
            }
            scores.slots.push(SlotScores { slot, documents });
        }
        Ok(scores)
    }
}

fn check_arguments(metric: &Metric) -> Result<(), MetricError> {
    let wrong = |key: &str, expected, found| Err(MetricError::argument(&metric.name, key, expected, found));
    for (key, value) in &metric.arguments {
        match (metric.info.kind, key.as_str()) {
            (Kind::NumericMatch, _) if value.as_f64().is_none_or(|t| !(0.0..1.0).contains(&t)) => {
                return wrong(key, "a number from 0 to below 1", value);
            }
            (Kind::EntityF1, "format") if !matches!(value.as_str(), Some("pairs" | "lines")) => {
                return wrong(key, "`pairs` or `lines`", value);
            }
            (Kind::EntityF1 | Kind::AvgF1, _) if value.as_str().is_none() => {
                return wrong(key, "a text", value);
            }
            _ => {}
        }
    }
    Ok(())
}

/// scikit-learn's rule for a binary F1: no more than two labels, and class 1 among two.
fn check_binary(values: &[DocumentValue]) -> Result<(), MetricError> {
    for (document, value) in values.iter().enumerate() {
        if let DocumentValue::Labels { gold, predicted } = value
            && let Some(label) = [*gold, *predicted].into_iter().find(|label| ![0, 1, MISSING].contains(label))
        {
            return Err(MetricError::NotBinary { document, label });
        }
    }
    Ok(())
}

/// Scores one document.
struct DocumentReader<'a> {
    scorer: &'a Scorer,
    index: usize,
    doc: &'a Value,
    warnings: &'a mut BTreeMap<String, usize>,
}

impl DocumentReader<'_> {
    fn warn(&mut self, text: &str) {
        *self.warnings.entry(text.to_owned()).or_insert(0) += 1;
    }

    fn read(&mut self, outcome: &Outcome, pipeline: &Pipeline) -> Result<DocumentScores> {
        match outcome {
            Outcome::Choice { choices, gold, scores, unconditional } => {
                if let Some(protocol) = self.scorer.protocol.as_ref().filter(|p| p.is_generative()) {
                    return Err(MetricError::Protocol { protocol: protocol.name(), found: "scored choices" }.into());
                }
                if !pipeline.is_plain() {
                    let found = "scored choices under a filter";
                    return Err(MetricError::Outcome { metric: pipeline.name().to_owned(), found }.into());
                }
                let own = unconditional.as_deref().unwrap_or(&[]);
                if scores.iter().any(|s| s.logprob.is_nan()) || own.iter().any(|logprob| logprob.is_nan()) {
                    return Err(MetricError::NotANumber { document: self.index }.into());
                }
                if scores.is_empty() || scores.len() != choices.len() {
                    return Err(MetricError::NoResponse { document: self.index }.into());
                }
                let choices = Choices { texts: choices, gold, scores, unconditional: unconditional.as_deref() };
                self.choices(choices)
            }
            Outcome::Text { references, responses, choices, .. } => {
                if responses.is_empty() {
                    return Err(MetricError::NoResponse { document: self.index }.into());
                }
                let filtered = pipeline.apply(self.index, responses, choices)?;
                self.text(&filtered, references, choices)
            }
            Outcome::Continuation { score } => {
                if score.logprob.is_nan() {
                    return Err(MetricError::NotANumber { document: self.index }.into());
                }
                self.each("a scored continuation", None, None, |metric| match metric.info.kind {
                    Kind::Acc => Some(DocumentValue::Number(f64::from(u8::from(score.is_greedy)))),
                    Kind::Perplexity => Some(DocumentValue::Number(score.logprob)),
                    _ => None,
                })
            }
            Outcome::Rolling { logprob, words, bytes } => {
                if logprob.is_nan() {
                    return Err(MetricError::NotANumber { document: self.index }.into());
                }
                let weighted =
                    |weight: usize| Some(DocumentValue::Weighted { logprob: *logprob, weight: weight as f64 });
                self.each("a scored text", None, None, |metric| match metric.info.kind {
                    Kind::WordPerplexity => weighted(*words),
                    Kind::BytePerplexity => weighted(*bytes),
                    _ => None,
                })
            }
        }
    }

    fn each(
        &self,
        found: &'static str,
        response: Option<Value>,
        predicted: Option<usize>,
        value: impl Fn(&Metric) -> Option<DocumentValue>,
    ) -> Result<DocumentScores> {
        let mut values = Vec::with_capacity(self.scorer.metrics.len());
        for (metric, _) in &self.scorer.metrics {
            let value = value(metric).ok_or_else(|| MetricError::Outcome { metric: metric.name.clone(), found })?;
            values.push((metric.name.clone(), value));
        }
        Ok(DocumentScores { response, predicted, values })
    }

    fn choices(&mut self, choices: Choices<'_>) -> Result<DocumentScores> {
        let predicted = choices.predicted();
        let labels = self.labels(choices.gold, predicted);
        let kind = self.question()?;
        self.each("scored choices", None, predicted, |metric| match metric.info.kind {
            Kind::Acc => Some(choices.acc()),
            Kind::AccNorm => Some(choices.acc_norm()),
            Kind::AccBytes => Some(choices.acc_bytes()),
            Kind::AccMutualInfo => choices.acc_mutual_info(),
            Kind::ExactMatch => Some(choices.exact_match()),
            Kind::Brier => Some(choices.brier_score()),
            Kind::Likelihood => Some(choices.likelihood()),
            _ => label_value(metric, labels, kind.as_deref()),
        })
    }

    /// The pair of labels of a document. Of several right ones the predicted one counts if it is
    /// among them, else the first.
    fn labels(&mut self, gold: &[usize], predicted: Option<usize>) -> (i32, i32) {
        let takes_one = self.scorer.metrics.iter().any(|(metric, _)| metric.statistic.takes_labels());
        if gold.len() > 1 && takes_one {
            self.warn("several right labels: the predicted one or else the first counts for F1 and MCC");
        }
        let right = predicted.filter(|index| gold.contains(index)).or_else(|| gold.first().copied());
        (right.map_or(NO_GOLD, |index| index as i32), predicted.map_or(MISSING, |index| index as i32))
    }

    /// The question type, where a metric wants it.
    fn question(&self) -> Result<Option<String>> {
        let Some((metric, _)) = self.scorer.metrics.iter().find(|(metric, _)| metric.info.kind == Kind::AvgF1) else {
            return Ok(None);
        };
        let field = text_argument(&metric.arguments, "question_field", "label_type");
        match self.doc.get(field) {
            Some(Value::String(kind)) => Ok(Some(kind.clone())),
            Some(kind @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(kind.to_string())),
            _ => {
                let (metric, field) = (metric.name.clone(), field.to_owned());
                Err(MetricError::Field { metric, field, document: self.index }.into())
            }
        }
    }

    fn text(&mut self, filtered: &Responses, references: &[String], choices: &[String]) -> Result<DocumentScores> {
        let texts = filtered.texts();
        let mut predicted = None;
        let mut labels = None;
        if let Some(protocol) = &self.scorer.protocol {
            if !protocol.is_generative() {
                return Err(MetricError::Protocol { protocol: protocol.name(), found: "written answers" }.into());
            }
            predicted = texts.first().and_then(|text| protocol.label(text, choices));
            let mut gold: Vec<usize> = references.iter().filter_map(|text| gold_label(text, choices)).collect();
            gold.dedup();
            // Where there is no reference the prompts have said so.
            if gold.is_empty() && !references.is_empty() {
                self.warn("the right answer is none of the choices");
            }
            labels = Some((self.labels(&gold, predicted), gold));
        }
        let kind = if labels.is_some() { self.question()? } else { None };
        let document = self.index;
        let share = |right: &dyn Fn(&str) -> Result<bool, SearchError>| {
            let mut hits = 0;
            for text in &texts {
                hits += usize::from(right(text).map_err(|source| MetricError::Search { document, source })?);
            }
            let share = if texts.is_empty() { 0.0 } else { hits as f64 / texts.len() as f64 };
            Ok::<_, MetricError>(Some(DocumentValue::Number(share)))
        };
        let mut values = Vec::with_capacity(self.scorer.metrics.len());
        for (metric, exact) in &self.scorer.metrics {
            let value = match (metric.info.kind, &labels) {
                (Kind::ExactMatch, _) => {
                    let exact = exact.clone().expect("read with the metric");
                    share(&|text| exact.matches(text, references))?
                }
                (Kind::NumericMatch, _) => {
                    let tolerance = metric.arguments.get("tolerance").and_then(Value::as_f64).unwrap_or(0.0);
                    share(&|text| Ok(references.iter().any(|gold| numeric_match(text, gold, tolerance))))?
                }
                (Kind::EntityF1, _) => Some(self.entities(metric, texts.first().copied().unwrap_or(""))?),
                (Kind::Acc, Some((_, gold))) => {
                    let right = predicted.is_some_and(|index| gold.contains(&index));
                    Some(DocumentValue::Number(f64::from(u8::from(right))))
                }
                (_, Some((pair, _))) => label_value(metric, *pair, kind.as_deref()),
                (_, None) if metric.info.scored.contains(&Scored::Labels) => {
                    return Err(MetricError::NeedsProtocol { metric: metric.name.clone() }.into());
                }
                _ => None,
            };
            let outcome = || MetricError::Outcome { metric: metric.name.clone(), found: "written answers" };
            values.push((metric.name.clone(), value.ok_or_else(outcome)?));
        }
        Ok(DocumentScores { response: Some(filtered.to_json()), predicted, values })
    }

    fn entities(&self, metric: &Metric, answer: &str) -> Result<DocumentValue, MetricError> {
        let missing = |field: &str| MetricError::Field {
            metric: metric.name.clone(),
            field: field.to_owned(),
            document: self.index,
        };
        let list = |field: &str| -> Result<Vec<String>, MetricError> {
            let items = self.doc.get(field).and_then(Value::as_array).ok_or_else(|| missing(field))?;
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| missing(field))).collect()
        };
        let gold = list(text_argument(&metric.arguments, "tags_field", "tags"))?;
        let predicted = if text_argument(&metric.arguments, "format", "pairs") == "lines" {
            let tokens = list(text_argument(&metric.arguments, "tokens_field", "tokens"))?;
            // PIXIU's label map: the types of the data set, which the gold tags of the document
            // stand for together with the usual three.
            let mut known: std::collections::BTreeSet<String> = gold.iter().cloned().collect();
            for kind in ["PER", "LOC", "ORG"] {
                known.extend([format!("B-{kind}"), format!("I-{kind}")]);
            }
            tags_from_lines(answer, &tokens, &known)
        } else {
            let field = text_argument(&metric.arguments, "text_field", "text");
            let text = self.doc.get(field).and_then(Value::as_str).ok_or_else(|| missing(field))?;
            tags_from_pairs(answer, text)
        };
        Ok(entity_counts(&predicted, &gold))
    }
}

fn text_argument<'a>(arguments: &'a Map<String, Value>, key: &str, default: &'a str) -> &'a str {
    arguments.get(key).and_then(Value::as_str).unwrap_or(default)
}

fn label_value(metric: &Metric, (gold, predicted): (i32, i32), kind: Option<&str>) -> Option<DocumentValue> {
    match metric.info.kind {
        Kind::Labels => Some(DocumentValue::Labels { gold, predicted }),
        Kind::MissingRate => Some(DocumentValue::Number(f64::from(u8::from(predicted == MISSING)))),
        Kind::AvgF1 => kind.map(|kind| DocumentValue::Question { kind: kind.to_owned(), gold, predicted }),
        _ => None,
    }
}
