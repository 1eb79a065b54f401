//! Task-vector statistics of fine-tuned models, in one streaming pass.
//!
//! Tensors are read in the order of the base's files, in fixed chunks, by any number of threads;
//! pages are given back after every chunk. Parts are added in chunk order and groups in listing
//! order, so the result depends neither on the number of threads nor on the sharding.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::names;
use super::statistics::{GroupSummary, Groups, Sums, pair_index};
use crate::checkpoint::{ModelDir, Tensor};
use crate::compute::merge::{DeltaSummary, MergeKernels, Operand};
use crate::error::{Diagnose, ErrorKind, Result};
use crate::event::{Event, Progress};
use crate::merge::execute::chunk::chunks;
use crate::merge::execute::reduction::InOrder;
use crate::merge::plan::sources::Model;
use crate::parallel::Workers;

/// Result of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct TaskVectorReport {
    /// The base as the user named it.
    pub base: String,
    /// The fine-tuned models as the user named them; statistics refer to them by position.
    pub tuned: Vec<String>,
    /// Bytes of all compared tensors in all models.
    pub bytes_read: u64,
    /// All compared tensors as one vector.
    pub total: GroupSummary,
    /// Tensors of the same name but for the layer number, as one vector each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<GroupSummary>,
    /// Decoder layers by number, then everything outside them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<GroupSummary>,
    /// Every compared tensor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<GroupSummary>,
    /// Tensors that could not be compared and are in no statistic.
    pub skipped: Vec<Skipped>,
    /// Compared tensors that hold NaN or infinities; their statistics and those of their groups are
    /// absent.
    pub non_finite: Vec<NonFinite>,
}

/// A tensor that could not be compared, once for each model that is the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    /// Tensor name.
    pub tensor: String,
    /// The model that is the reason.
    pub model: String,
    #[serde(flatten)]
    pub reason: SkipReason,
}

/// Reasons why a tensor could not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub(crate) enum SkipReason {
    /// The model does not have it while another does (a tied head, for example).
    Missing,
    /// Elements that are not floating-point numbers.
    NotFloating {
        /// Safetensors name of the dtype.
        dtype: &'static str,
    },
    /// Shape that differs from the base's.
    Shape {
        /// Shape in the model.
        found: Vec<u64>,
        /// Shape in the base.
        base: Vec<u64>,
    },
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tensor, model, reason } = self;
        match reason {
            SkipReason::Missing => write!(f, "tensor `{tensor}` is skipped: it is missing from `{model}`"),
            SkipReason::NotFloating { dtype } => {
                write!(f, "tensor `{tensor}` is skipped: it has dtype {dtype} in `{model}`")
            }
            SkipReason::Shape { found, base } => {
                write!(f, "tensor `{tensor}` is skipped: it has shape {found:?} in `{model}` but {base:?} in the base")
            }
        }
    }
}

/// A tensor with NaN or infinities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NonFinite {
    /// Tensor name.
    pub tensor: String,
    /// The model; the base when the base has any.
    pub model: String,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tensor, model } = self;
        write!(f, "tensor `{tensor}` of `{model}` holds NaN or infinities: statistics that it is part of are missing")
    }
}

/// Reasons why models can't be compared.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum TaskVectorError {
    #[error("no tensor of `{base}` can be compared with `{}` (for example: {example})", tuned.join("`, `"))]
    NothingInCommon { base: String, tuned: Vec<String>, example: String },
}

impl Diagnose for TaskVectorError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NothingInCommon { .. } => ErrorKind::Mismatch,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NothingInCommon { .. } => {
                vec!["the base must be the model that the others were fine-tuned from".to_owned()]
            }
        }
    }
}

/// One tensor that all models have: the base's, then the others'.
struct Compared<'a> {
    name: &'a str,
    places: Vec<&'a Tensor>,
}

impl Compared<'_> {
    fn elements(&self) -> u64 {
        self.places[0].elements()
    }
}

/// Compares fine-tuned models with their base.
///
/// # Errors
/// A [`TaskVectorError`], or [`crate::error::Cancelled`].
pub(crate) fn compare(
    base: &Model,
    tuned: &[Model],
    backend: &dyn MergeKernels,
    workers: Workers,
    progress: Progress<'_>,
) -> Result<TaskVectorReport> {
    let models: Vec<&Model> = std::iter::once(base).chain(tuned).collect();
    let name = |model: &Model| model.reference.to_string();
    let (mut compared, skipped) = select(&models);
    if compared.is_empty() {
        let example = skipped.first().map_or_else(|| "the base has no tensors".to_owned(), ToString::to_string);
        let tuned = tuned.iter().map(name).collect();
        return Err(TaskVectorError::NothingInCommon { base: name(base), tuned, example }.into());
    }
    compared.sort_by_key(|c| (c.places[0].shard, c.places[0].range.start));
    for warning in models.iter().flat_map(|m| &m.dir).flat_map(ModelDir::warnings) {
        progress.warn(warning);
    }
    for tensor in &skipped {
        progress.warn(tensor.to_string());
    }
    let bytes_read = compared.iter().flat_map(|c| &c.places).map(|tensor| tensor.bytes()).sum();
    progress.event(Event::PlanReady { tensors: compared.len(), bytes_read, bytes_written: 0 });
    let statistics = measure(&models, &compared, backend, workers, progress)?;
    for model in &models {
        model.unchanged()?;
    }

    let mut order: Vec<usize> = (0..compared.len()).collect();
    order.sort_by_key(|&i| names::position(compared[i].name, &base.stack));
    let mut total = Sums::default();
    let (mut modules, mut layers, mut tensors) = (Groups::default(), Groups::default(), Groups::default());
    let mut non_finite = Vec::new();
    for (rank, &i) in order.iter().enumerate() {
        let tensor = &compared[i];
        let part = (tensor.elements(), &statistics[i]);
        let position = names::position(tensor.name, &base.stack);
        let layer = base.stack.layer(tensor.name).map(|(layer, _)| layer);
        let title = layer.map_or_else(|| "outside layers".to_owned(), |n| format!("layer {n}"));
        total.add(part.0, part.1);
        modules.add((position.0, position.2), names::module(tensor.name, &base.stack), None, part);
        layers.add((layer.is_none(), layer), title, layer, part);
        tensors.add(rank, tensor.name, layer, part);
        let broken = broken(&statistics[i], tuned.len()).into_iter();
        non_finite.extend(broken.map(|m| NonFinite { tensor: tensor.name.to_owned(), model: name(models[m]) }));
    }
    for tensor in &non_finite {
        progress.warn(tensor.to_string());
    }
    progress.event(Event::Finished);
    Ok(TaskVectorReport {
        base: name(base),
        tuned: tuned.iter().map(name).collect(),
        bytes_read,
        total: total.finish("total".to_owned(), None, tuned.len()),
        modules: modules.finish(tuned.len()),
        layers: layers.finish(tuned.len()),
        tensors: tensors.finish(tuned.len()),
        skipped,
        non_finite,
    })
}

/// The tensors that can be compared, and those that can't.
fn select<'a>(models: &[&'a Model]) -> (Vec<Compared<'a>>, Vec<Skipped>) {
    let names: BTreeSet<&str> = models.iter().flat_map(|m| m.tensors.keys()).map(String::as_str).collect();
    let (mut compared, mut skipped) = (Vec::new(), Vec::new());
    for name in names {
        let found: Vec<Option<&Tensor>> = models.iter().map(|m| m.tensors.get(name)).collect();
        let faults: BTreeMap<usize, SkipReason> =
            found.iter().enumerate().filter_map(|(i, t)| Some((i, fault(*t, found[0])?))).collect();
        if faults.is_empty() {
            compared.push(Compared { name, places: found.into_iter().flatten().collect() });
        }
        skipped.extend(faults.into_iter().map(|(i, reason)| Skipped {
            tensor: name.to_owned(),
            model: models[i].reference.to_string(),
            reason,
        }));
    }
    (compared, skipped)
}

fn fault(tensor: Option<&Tensor>, base: Option<&Tensor>) -> Option<SkipReason> {
    let Some(tensor) = tensor else { return Some(SkipReason::Missing) };
    if !tensor.dtype.is_float() {
        return Some(SkipReason::NotFloating { dtype: tensor.dtype.name() });
    }
    let base = base.filter(|base| base.shape != tensor.shape)?;
    Some(SkipReason::Shape { found: tensor.shape.clone(), base: base.shape.clone() })
}

/// The models (0 is the base) that make a tensor's sums infinite or NaN.
fn broken(statistics: &DeltaSummary, models: usize) -> Vec<usize> {
    if !statistics.base_square.is_finite() {
        return vec![0];
    }
    let square = |i: usize| statistics.products[pair_index(i, i, models)];
    (0..models).filter(|&i| !square(i).is_finite()).map(|i| i + 1).collect()
}

/// One chunk of one tensor.
struct Piece {
    tensor: usize,
    range: Range<u64>,
}

/// The statistics of every tensor.
fn measure(
    models: &[&Model],
    compared: &[Compared<'_>],
    backend: &dyn MergeKernels,
    workers: Workers,
    progress: Progress<'_>,
) -> Result<Vec<DeltaSummary>> {
    let pool = workers.pool("diff")?;
    let pieces: Vec<Piece> = compared
        .iter()
        .enumerate()
        .flat_map(|(tensor, c)| chunks(c.elements()).map(move |range| Piece { tensor, range }))
        .collect();
    let results = Mutex::new(vec![DeltaSummary::default(); compared.len()]);
    let parts: InOrder<(usize, DeltaSummary)> = InOrder::default();
    let next = AtomicUsize::new(0);
    pool.broadcast(|| {
        while let Some((index, piece)) = take(&pieces, &next) {
            if progress.cancel.is_cancelled() {
                return;
            }
            let ranges = compared[piece.tensor].places.iter().map(|tensor| byte_range(tensor, &piece.range));
            let ranges: Vec<Range<u64>> = ranges.collect();
            let places = compared[piece.tensor].places.iter().zip(models).zip(&ranges);
            let operands: Vec<Operand<'_>> = places
                .clone()
                .map(|((tensor, model), range)| {
                    let shard = model.dir.as_ref().and_then(|dir| dir.shards().get(tensor.shard));
                    Operand { bytes: shard.map_or(&[], |s| s.slice(range.clone())), dtype: tensor.dtype }
                })
                .collect();
            let part = backend.delta_summary(operands[0], &operands[1..]);
            for ((tensor, model), range) in places {
                if let Some(shard) = model.dir.as_ref().and_then(|dir| dir.shards().get(tensor.shard)) {
                    shard.release(range.clone());
                }
            }
            parts.submit(index, (piece.tensor, part), |(tensor, part)| {
                results.lock().unwrap_or_else(PoisonError::into_inner)[tensor].add(&part);
            });
            progress.event(Event::BytesRead(ranges.iter().map(|r| r.end - r.start).sum()));
        }
    });
    progress.cancel.check()?;
    Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn take<'a>(pieces: &'a [Piece], next: &AtomicUsize) -> Option<(usize, &'a Piece)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    pieces.get(index).map(|piece| (index, piece))
}

/// Byte range of elements of a tensor in its file.
fn byte_range(tensor: &Tensor, range: &Range<u64>) -> Range<u64> {
    let width = tensor.dtype.bytes() as u64;
    tensor.range.start + range.start * width..tensor.range.start + range.end * width
}

#[cfg(test)]
#[path = "task_vectors_tests.rs"]
mod tests;
