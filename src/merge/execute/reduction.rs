//! Passes over the chunks of a tensor that compute a [`Reduction`].
//!
//! A [`ReductionPass`] sees every chunk of a tensor once per round, in any order and from any thread,
//! and must not let that order show: counts are integers, and floating-point parts are added in
//! chunk order by [`InOrder`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::chunk::{parts, rows};
use super::trim::{Trim, WholeModelThresholds};
use crate::compute::merge::{ComputeType, Delta, MergeKernels, Operand, Selection};
use crate::merge::methods::{Axis, DotProducts, Masks, MethodFault, Reduction, ReductionResult, Sparsify};
use crate::parallel::Pool;
use crate::rng::Philox;

/// Bytes of masks kept for one tensor.
const MASK_BYTES: u64 = 96 << 20;

/// The chunk of every input that a pass looks at.
#[derive(Debug)]
pub(crate) struct ChunkInputs<'a> {
    /// Index of the chunk in its tensor.
    pub index: usize,
    /// Flat element range.
    pub range: Range<u64>,
    /// Each input's part.
    pub operands: Vec<Operand<'a>>,
    /// Position of the base.
    pub base: Option<usize>,
    /// Working type.
    pub precision: ComputeType,
}

impl<'a> ChunkInputs<'a> {
    /// Input `index` minus the base.
    #[must_use]
    pub(crate) fn delta(&self, index: usize) -> Delta<'a> {
        Delta { base: self.base.map(|b| self.operands[b]), tuned: self.operands[index], precision: self.precision }
    }

    /// The same chunk cut down to a piece of its range.
    #[must_use]
    pub(crate) fn piece(&self, range: &Range<u64>) -> Self {
        let (start, end) = ((range.start - self.range.start) as usize, (range.end - self.range.start) as usize);
        Self {
            index: self.index,
            range: range.clone(),
            operands: self.operands.iter().map(|o| o.slice(start, end)).collect(),
            base: self.base,
            precision: self.precision,
        }
    }
}

/// Passes over a tensor's chunks.
pub(crate) trait ReductionPass: Send + Sync {
    /// Looks at one chunk; called once per chunk and round.
    fn visit(&self, backend: &dyn MergeKernels, chunk: &ChunkInputs<'_>);

    /// Ends a round, on the threads of the pass; `true` asks for another one.
    fn next_round(&mut self, pool: &Pool) -> bool;

    /// The result, after the last round.
    fn finish(&mut self) -> ReductionResult;
}

/// Starts a reduction.
///
/// `tuned` are the indices of the inputs that are not the base, `elements` the tensor's size and
/// `whole_model` the thresholds of model-wide trimming, found beforehand.
///
/// # Errors
/// A [`MethodFault`] when what is asked for does not fit the inputs.
pub(crate) fn begin(
    reduction: &Reduction,
    shape: &[u64],
    tuned: &[usize],
    precision: ComputeType,
    whole_model: &WholeModelThresholds,
    models: &[usize],
) -> Result<Begun, MethodFault> {
    let elements: u64 = shape.iter().product();
    match reduction {
        Reduction::None => Ok(Begun::Known(ReductionResult::Nothing)),
        Reduction::DotProducts(products) => {
            let least = products.vectors.iter().max().map_or(0, |index| index + 1);
            if least > models.len() {
                return Err(MethodFault::Count { what: "vectors", expected: models.len(), found: least });
            }
            Ok(Begun::Running(Box::new(ProductSums::new(products.clone(), shape))))
        }
        Reduction::Sparsify { rules, rescale } => {
            if rules.len() != tuned.len() {
                let (expected, found) = (tuned.len(), rules.len());
                return Err(MethodFault::Count { what: "rules of selection", expected, found });
            }
            let trim = |(rule, &input): (&Sparsify, &usize)| {
                Ok(match *rule {
                    Sparsify::Keep => Trim::known(input, Selection::All),
                    Sparsify::Drop => Trim::known(input, Selection::Nothing),
                    Sparsify::Largest { keep } => Trim::largest(input, keep, elements, precision),
                    Sparsify::LargestOfModel { density } => {
                        Trim::known(input, whole_model.selection(models[input], density)?)
                    }
                    Sparsify::Random { density, key } => Trim::known(
                        input,
                        Selection::Random {
                            stream: Philox::new(key),
                            keep_below: (density.clamp(0.0, 1.0) * 4_294_967_296.0).round() as u64,
                            rescale: 1.0,
                        },
                    ),
                })
            };
            let trims: Vec<Trim> = rules.iter().zip(tuned).map(trim).collect::<Result<_, MethodFault>>()?;
            if reduction.needs_data() {
                let keep_masks = keeps_masks(elements, trims.len());
                let masks = Masks::default();
                Ok(Begun::Running(Box::new(Selecting { trims, rescale: *rescale, keep_masks, sums: None, masks })))
            } else {
                let selections = trims.iter().map(Trim::selection).collect();
                Ok(Begun::Known(ReductionResult::Selections(selections, Masks::default())))
            }
        }
    }
}

/// A reduction that has begun.
pub(crate) enum Begun {
    /// Data must be read.
    Running(Box<dyn ReductionPass>),
    /// The result is known without.
    Known(ReductionResult),
}

/// Whether the masks of a tensor's random selections are kept from the reduction for the map.
#[must_use]
pub(crate) fn keeps_masks(elements: u64, selections: usize) -> bool {
    mask_bytes(elements, selections) <= MASK_BYTES
}

/// Bytes of those masks.
#[must_use]
pub(crate) fn mask_bytes(elements: u64, selections: usize) -> u64 {
    elements.div_ceil(8) * selections as u64
}

/// Adds parts in the order of their index whatever order they arrive in. Chunks are handed out in
/// order, so at most one part per thread waits.
#[derive(Debug)]
pub(crate) struct InOrder<T>(Mutex<(usize, BTreeMap<usize, T>)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Mutex::new((0, BTreeMap::new())))
    }
}

impl<T> InOrder<T> {
    /// Calls `add` with this part and those waiting for it, in order.
    pub(crate) fn submit(&self, index: usize, part: T, mut add: impl FnMut(T)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.insert(index, part);
        loop {
            let next = state.0;
            let Some(part) = state.1.remove(&next) else { return };
            add(part);
            state.0 += 1;
        }
    }
}

/// Dot products along an axis.
struct ProductSums {
    spec: DotProducts,
    pairs: usize,
    /// Elements of a row: the last axis, or all but the first one for columns.
    row: u64,
    sums: Mutex<Vec<f64>>,
    /// Parts of a chunk: index of the first sum, and sums.
    parts: InOrder<Vec<(usize, Vec<f64>)>>,
}

impl ProductSums {
    fn new(spec: DotProducts, shape: &[u64]) -> Self {
        let elements: u64 = shape.iter().product();
        let first = shape.first().copied().unwrap_or(1).max(1);
        let last = shape.last().copied().unwrap_or(1).max(1);
        let (row, vectors) = match spec.axis {
            Axis::Whole => (elements.max(1), 1),
            Axis::Rows => (last, elements / last),
            Axis::Columns => (elements / first, elements / first),
        };
        let pairs = spec.vectors.len() * (spec.vectors.len() + 1) / 2;
        let sums = Mutex::new(vec![0.0; pairs * vectors as usize]);
        Self { spec, pairs, row, sums, parts: InOrder::default() }
    }

    fn vectors<'a>(&self, chunk: &ChunkInputs<'a>) -> Vec<Delta<'a>> {
        let base = self.spec.base.map(|base| chunk.operands[base.index()]);
        let delta = |&i: &usize| Delta { base, tuned: chunk.operands[i], precision: chunk.precision };
        self.spec.vectors.iter().map(delta).collect()
    }
}

impl ReductionPass for ProductSums {
    fn visit(&self, backend: &dyn MergeKernels, chunk: &ChunkInputs<'_>) {
        let mut parts = Vec::new();
        if self.spec.axis == Axis::Columns {
            let mut columns = vec![0.0; self.pairs * self.row as usize];
            for (row, range) in rows(chunk.range.clone(), self.row) {
                let vectors = self.vectors(&chunk.piece(&range));
                let first = (range.start - row * self.row) as usize * self.pairs;
                let last = (range.end - row * self.row) as usize * self.pairs;
                backend.column_products(&vectors, &mut columns[first..last]);
            }
            parts.push((0, columns));
        } else {
            for (row, range) in rows(chunk.range.clone(), self.row) {
                let mut sums = vec![0.0; self.pairs];
                backend.products(&self.vectors(&chunk.piece(&range)), &mut sums);
                parts.push((row as usize * self.pairs, sums));
            }
        }
        self.parts.submit(chunk.index, parts, |parts| {
            let mut totals = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            for (first, sums) in parts {
                totals[first..].iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        });
    }

    fn next_round(&mut self, _pool: &Pool) -> bool {
        false
    }

    fn finish(&mut self) -> ReductionResult {
        let sums = std::mem::take(self.sums.get_mut().unwrap_or_else(PoisonError::into_inner));
        ReductionResult::DotProducts { pairs: self.pairs, sums }
    }
}

/// Trims of all task vectors of a tensor side by side, then the rescaling sums.
struct Selecting {
    trims: Vec<Trim>,
    rescale: bool,
    keep_masks: bool,
    sums: Option<RescaleSums>,
    masks: Masks,
}

#[derive(Default)]
struct RescaleSums {
    totals: Mutex<Vec<(f64, f64)>>,
    parts: InOrder<Vec<(f64, f64)>>,
    masks: Vec<Mutex<BTreeMap<usize, Vec<u64>>>>,
}

/// Sums below this are not worth dividing by (mergekit's rule).
const SMALL_SUM: f64 = 1e-7;

impl ReductionPass for Selecting {
    fn visit(&self, backend: &dyn MergeKernels, chunk: &ChunkInputs<'_>) {
        let Some(sums) = &self.sums else {
            for trim in &self.trims {
                trim.visit(backend, chunk);
            }
            return;
        };
        let mut totals = vec![(0.0, 0.0); self.trims.len()];
        let keeps = |trim: &Trim| self.keep_masks && matches!(trim.selection(), Selection::Random { .. });
        let words = chunk.operands.first().map_or(0, Operand::len).div_ceil(64);
        let mut masks: Vec<Vec<u64>> =
            self.trims.iter().map(|trim| vec![0; if keeps(trim) { words } else { 0 }]).collect();
        // All inputs of a part before the next part: the base is then read from memory once.
        for range in parts(&chunk.range) {
            let part = chunk.piece(&range);
            let first = (range.start - chunk.range.start) as usize / 64;
            let last = ((range.end - chunk.range.start) as usize).div_ceil(64);
            for ((trim, total), mask) in self.trims.iter().zip(&mut totals).zip(&mut masks) {
                let selection = trim.selection();
                if matches!(selection, Selection::All | Selection::Nothing) {
                    continue;
                }
                let mask = if mask.is_empty() { None } else { Some(&mut mask[first..last]) };
                let (all, kept) = backend.magnitude_sums(part.delta(trim.input()), selection, range.start, mask);
                total.0 += all;
                total.1 += kept;
            }
        }
        for ((trim, mask), place) in self.trims.iter().zip(masks).zip(&sums.masks) {
            if keeps(trim) {
                place.lock().unwrap_or_else(PoisonError::into_inner).insert(chunk.index, mask);
            }
        }
        sums.parts.submit(chunk.index, totals, |part| {
            let mut totals = sums.totals.lock().unwrap_or_else(PoisonError::into_inner);
            for (total, part) in totals.iter_mut().zip(part) {
                total.0 += part.0;
                total.1 += part.1;
            }
        });
    }

    fn next_round(&mut self, pool: &Pool) -> bool {
        if let Some(sums) = &mut self.sums {
            let masks = sums.masks.iter_mut();
            self.masks =
                Masks(masks.map(|m| std::mem::take(m.get_mut().unwrap_or_else(PoisonError::into_inner))).collect());
            let totals = std::mem::take(sums.totals.get_mut().unwrap_or_else(PoisonError::into_inner));
            for (trim, (all, kept)) in self.trims.iter_mut().zip(totals) {
                let factor = if all < SMALL_SUM || kept < SMALL_SUM { 1.0 } else { all / kept };
                trim.rescale(factor);
            }
            return false;
        }
        let again = pool.map_mut(&mut self.trims, |_, trim| trim.next_round()).contains(&true);
        if !again && self.rescale {
            let totals = Mutex::new(vec![(0.0, 0.0); self.trims.len()]);
            let masks = self.trims.iter().map(|_| Mutex::default()).collect();
            self.sums = Some(RescaleSums { totals, parts: InOrder::default(), masks });
            return true;
        }
        again
    }

    fn finish(&mut self) -> ReductionResult {
        ReductionResult::Selections(self.trims.iter().map(Trim::selection).collect(), std::mem::take(&mut self.masks))
    }
}
