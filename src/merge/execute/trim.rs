//! Finding the `k` largest magnitudes of a task vector without sorting or storing it.
//!
//! The order of magnitudes is the order of their bit patterns (*keys*), so everything here is exact
//! integer work. A sample of the keys brackets the threshold. If the bracket is a single key (task
//! vectors of bf16 models have few distinct magnitudes), one scan counts what is above and what is
//! equal. Otherwise one scan counts what lies above the bracket and collects the few keys inside it,
//! and the threshold is selected among those. When the
//! bracket misses, or would collect too much, the key is found digit by digit with histograms, two
//! more scans for f32, whatever the distribution. Both ways give the same answer.
//!
//! Elements equal to the threshold are kept by lowest flat index until exactly `k` are kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::chunk::CHUNK_ELEMENTS;
use crate::compute::merge::{Bracket, ComputeType, Delta, Digit, MergeKernels, Selection};
use crate::merge::execute::reduction::ChunkInputs;
use crate::merge::methods::MethodFault;

/// A sample takes `SAMPLE_RUN` neighbours of every `sample_stride` elements.
const SAMPLE_RUN: usize = 32;
/// Dense enough for a narrow bracket, and half a million keys at most.
fn sample_stride(elements: u64) -> usize {
    usize::try_from(elements / 16_384).map_or(1024, |stride| stride.next_power_of_two().max(1024))
}
/// Tensors up to this size are collected whole, without a sample.
const COLLECT_ALL: u64 = 128 * 1024;
/// Keys that may be collected of one tensor before the histogram takes over.
#[must_use]
pub(crate) fn collect_limit(elements: u64) -> u64 {
    (elements / 8).clamp(COLLECT_ALL, 16 << 20)
}

/// Highest key of an f32.
const HIGHEST_KEY: u64 = (1 << 31) - 1;

/// Width of a key.
fn key_bits(precision: ComputeType) -> u32 {
    match precision {
        ComputeType::F32 => 31,
        ComputeType::F64 => 63,
    }
}

/// Finds the selection of one task vector of one tensor.
#[derive(Debug)]
pub(crate) struct Trim {
    input: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Known(Selection),
    Searching(Search),
}

#[derive(Debug)]
struct Search {
    keep: u64,
    elements: u64,
    precision: ComputeType,
    round: Round,
}

#[derive(Debug)]
enum Round {
    /// Reading a sample of keys.
    Sample(Mutex<Vec<u32>>),
    /// Counting above a bracket and collecting inside it.
    Scan { bracket: Bracket, found: Mutex<Found> },
    /// Counting above and at the key that is the threshold if the sample is right.
    Guess { key: u64, above: Mutex<u64>, per_chunk: Mutex<BTreeMap<usize, u64>> },
    /// Counting values of a digit among keys with a known prefix.
    Count { digit: Digit, above: u64, counts: Mutex<Vec<u64>> },
    /// Counting elements equal to the threshold per chunk.
    Ties { key: u64, wanted: u64, per_chunk: Mutex<BTreeMap<usize, u64>> },
    /// Looking for the last tie to keep inside one chunk.
    Place { key: u64, chunk: usize, nth: usize, ties_before: Mutex<u64> },
}

#[derive(Debug, Default)]
struct Found {
    above: u64,
    collected: u64,
    overflow: bool,
    /// Keys, as offsets from the bracket's low end.
    per_chunk: BTreeMap<usize, Vec<u32>>,
}

impl Trim {
    /// A selection that needs no search.
    #[must_use]
    pub(crate) fn known(input: usize, selection: Selection) -> Self {
        Self { input, state: State::Known(selection) }
    }

    /// Searches for the `keep` largest of `elements` magnitudes.
    #[must_use]
    pub(crate) fn largest(input: usize, keep: u64, elements: u64, precision: ComputeType) -> Self {
        if keep >= elements {
            return Self::known(input, Selection::All);
        }
        let round = match precision {
            // Rare enough to need no short cut.
            ComputeType::F64 => first_digit(precision),
            ComputeType::F32 if elements > COLLECT_ALL => Round::Sample(Mutex::default()),
            // Zeros contribute nothing, so collecting starts at the smallest number above them.
            ComputeType::F32 => Round::Scan { bracket: Bracket { low: 1, high: HIGHEST_KEY }, found: Mutex::default() },
        };
        Self { input, state: State::Searching(Search { keep, elements, precision, round }) }
    }

    /// Index of the input.
    #[must_use]
    pub(crate) fn input(&self) -> usize {
        self.input
    }

    /// The selection, once the search is over.
    ///
    /// # Panics
    /// While [`Trim::next_round`] still asks for another round.
    #[must_use]
    pub(crate) fn selection(&self) -> Selection {
        match &self.state {
            State::Known(selection) => *selection,
            State::Searching(_) => panic!("a selection is read after the last round of its search"),
        }
    }

    /// Sets the factor for kept elements.
    pub(crate) fn rescale(&mut self, factor: f64) {
        self.state = State::Known(self.selection().rescaled(factor));
    }

    /// Looks at one chunk.
    pub(crate) fn visit(&self, backend: &dyn MergeKernels, chunk: &ChunkInputs<'_>) {
        let State::Searching(search) = &self.state else { return };
        let delta = chunk.delta(self.input);
        match &search.round {
            Round::Sample(keys) => {
                let stride = sample_stride(search.elements);
                let mut sample = Vec::with_capacity(delta.tuned.len() / (stride / SAMPLE_RUN) + SAMPLE_RUN);
                backend.magnitude_sample(delta, SAMPLE_RUN, stride, &mut sample);
                lock(keys).extend(sample);
            }
            Round::Scan { bracket, found } => {
                if lock(found).overflow {
                    return;
                }
                let mut inside = Vec::new();
                let above = backend.magnitude_bracket(delta, *bracket, &mut inside);
                let mut found = lock(found);
                found.above += above;
                found.collected += inside.len() as u64;
                if found.collected > collect_limit(search.elements) {
                    found.overflow = true;
                    found.per_chunk.clear();
                } else {
                    inside.shrink_to_fit();
                    found.per_chunk.insert(chunk.index, inside);
                }
            }
            Round::Count { digit, counts, .. } => {
                let mut local = vec![0; 1 << digit.bits];
                backend.magnitude_histogram(delta, *digit, &mut local);
                lock(counts).iter_mut().zip(local).for_each(|(total, n)| *total += n);
            }
            Round::Guess { key, above, per_chunk } => {
                let (larger, equal) = backend.magnitude_counts(delta, *key);
                *lock(above) += larger;
                lock(per_chunk).insert(chunk.index, equal);
            }
            Round::Ties { key, per_chunk, .. } => {
                let (_, equal) = backend.magnitude_counts(delta, *key);
                lock(per_chunk).insert(chunk.index, equal);
            }
            Round::Place { key, chunk: wanted, nth, ties_before } => {
                if chunk.index == *wanted {
                    let positions = backend.magnitude_positions(delta, *key, *nth);
                    let last = positions.last().map_or(0, |p| *p as u64 + 1);
                    *lock(ties_before) = chunk.range.start + last;
                }
            }
        }
    }

    /// Ends a round; `true` asks for another one.
    pub(crate) fn next_round(&mut self) -> bool {
        let State::Searching(search) = &mut self.state else { return false };
        match search.advance() {
            Some(selection) => {
                self.state = State::Known(selection);
                false
            }
            None => true,
        }
    }
}

impl Search {
    /// Moves on to the next round, or to the answer.
    fn advance(&mut self) -> Option<Selection> {
        let next = match &mut self.round {
            Round::Sample(keys) => {
                let mut keys = std::mem::take(into_inner(keys));
                let bracket = bracket(&mut keys, self.keep, self.elements);
                if bracket.low == bracket.high {
                    Round::Guess { key: bracket.low, above: Mutex::default(), per_chunk: Mutex::default() }
                } else {
                    Round::Scan { bracket, found: Mutex::default() }
                }
            }
            Round::Guess { key, above, per_chunk } => {
                let (key, above, per_chunk) = (*key, *into_inner(above), into_inner(per_chunk));
                let equal: u64 = per_chunk.values().sum();
                if above >= self.keep || above + equal < self.keep {
                    first_digit(self.precision)
                } else if above + equal == self.keep {
                    return Some(keep_down_to(key));
                } else {
                    place(key, self.keep - above, per_chunk)
                }
            }
            Round::Scan { bracket, found } => {
                let found = std::mem::take(into_inner(found));
                match select(self.keep, *bracket, &found) {
                    Outcome::Selection(selection) => return Some(selection),
                    Outcome::Ties { key, wanted, per_chunk } => place(key, wanted, &per_chunk),
                    Outcome::Missed => first_digit(self.precision),
                }
            }
            Round::Count { digit, above, counts } => {
                let counts = std::mem::take(into_inner(counts));
                let (value, above, equal) = descend(&counts, *above, self.keep);
                let prefix = digit.prefix << digit.bits | value;
                if digit.shift > 0 {
                    next_digit(digit.shift, prefix, above)
                } else if above + equal == self.keep {
                    return Some(keep_down_to(prefix));
                } else {
                    Round::Ties { key: prefix, wanted: self.keep - above, per_chunk: Mutex::default() }
                }
            }
            Round::Ties { key, wanted, per_chunk } => place(*key, *wanted, into_inner(per_chunk)),
            Round::Place { key, ties_before, .. } => {
                let ties_before = *into_inner(ties_before);
                return Some(Selection::Magnitude { threshold: *key, ties_before, rescale: 1.0 });
            }
        };
        self.round = next;
        None
    }
}

/// The answer of a scan, as far as it gives one.
fn select(keep: u64, bracket: Bracket, found: &Found) -> Outcome {
    if found.overflow || found.above >= keep {
        return Outcome::Missed;
    }
    let wanted = keep - found.above;
    if wanted > found.collected {
        // Everything above zero was seen and there is not enough of it: zeros fill up.
        let complete = bracket.low <= 1;
        return if complete { Outcome::Selection(Selection::All) } else { Outcome::Missed };
    }
    let mut keys: Vec<u32> = found.per_chunk.values().flatten().copied().collect();
    let rank = (wanted - 1) as usize;
    let (larger, offset, _) = keys.select_nth_unstable_by(rank, |a, b| b.cmp(a));
    let offset = *offset;
    let above = larger.iter().filter(|k| **k > offset).count() as u64;
    let per_chunk: BTreeMap<usize, u64> = found
        .per_chunk
        .iter()
        .map(|(chunk, keys)| (*chunk, keys.iter().filter(|k| **k == offset).count() as u64))
        .collect();
    let ties: u64 = per_chunk.values().sum();
    let key = bracket.low + u64::from(offset);
    if above + ties == wanted {
        return Outcome::Selection(keep_down_to(key));
    }
    Outcome::Ties { key, wanted: wanted - above, per_chunk }
}

enum Outcome {
    Selection(Selection),
    Ties { key: u64, wanted: u64, per_chunk: BTreeMap<usize, u64> },
    Missed,
}

/// The highest digit.
fn first_digit(precision: ComputeType) -> Round {
    next_digit(key_bits(precision), 0, 0)
}

/// The next digit below `bits` remaining bits.
fn next_digit(bits: u32, prefix: u64, above: u64) -> Round {
    let digit = digit_below(bits, prefix);
    Round::Count { digit, above, counts: Mutex::new(vec![0; 1 << digit.bits]) }
}

fn digit_below(bits: u32, prefix: u64) -> Digit {
    let width = bits.min(16);
    Digit { shift: bits - width, bits: width, prefix }
}

/// All ties are kept.
fn keep_down_to(key: u64) -> Selection {
    Selection::Magnitude { threshold: key, ties_before: u64::MAX, rescale: 1.0 }
}

/// The chunk in which the last tie to keep lies, and its number there.
fn place(key: u64, mut wanted: u64, per_chunk: &BTreeMap<usize, u64>) -> Round {
    let mut last = (0, 0);
    for (&chunk, &ties) in per_chunk {
        last = (chunk, wanted.min(ties) as usize);
        if ties >= wanted {
            break;
        }
        wanted -= ties;
    }
    Round::Place { key, chunk: last.0, nth: last.1, ties_before: Mutex::new(last.0 as u64 * CHUNK_ELEMENTS) }
}

/// The digit value that holds the `keep`-th largest key: value, keys above it, keys in it.
fn descend(counts: &[u64], mut above: u64, keep: u64) -> (u64, u64, u64) {
    for (value, &count) in counts.iter().enumerate().rev() {
        if above + count >= keep {
            return (value as u64, above, count);
        }
        above += count;
    }
    (0, above, 0)
}

/// Keys between which the `keep`-th largest of `elements` lies, judging by a sample: six standard
/// deviations of its rank to each side, and a little for what the sample's pattern may hide.
fn bracket(sample: &mut [u32], keep: u64, elements: u64) -> Bracket {
    let n = sample.len() as f64;
    let share = keep as f64 / elements as f64;
    let margin = 6.0 * (n * share * (1.0 - share)).sqrt() + n * 5e-4 + 8.0;
    let rank = share * n;
    let mut at = |rank: f64| -> Option<u64> {
        let rank = rank as usize;
        (rank < sample.len()).then(|| u64::from(*sample.select_nth_unstable_by(rank, |a, b| b.cmp(a)).1))
    };
    let high = if rank < margin { None } else { at(rank - margin) };
    let low = at(rank + margin);
    Bracket { low: low.unwrap_or(1).max(1), high: high.unwrap_or(HIGHEST_KEY) }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// Thresholds of task vectors that are trimmed as a whole, by model and density.
#[derive(Debug, Default)]
pub(crate) struct WholeModelThresholds(BTreeMap<(usize, u64), u64>);

impl WholeModelThresholds {
    /// Notes the threshold key of a model at a density.
    pub(crate) fn insert(&mut self, model: usize, density: f64, key: u64) {
        self.0.insert((model, density.to_bits()), key);
    }

    /// The selection of a model's tensors: every tie is kept, as in the authors' code.
    ///
    /// # Errors
    /// A [`MethodFault`] when no threshold was found.
    pub(crate) fn selection(&self, model: usize, density: f64) -> Result<Selection, MethodFault> {
        let key = self.0.get(&(model, density.to_bits())).ok_or(MethodFault::NoThreshold)?;
        Ok(keep_down_to(*key))
    }
}

/// Finds the threshold of a whole task vector with digit histograms over all of its tensors: the
/// (`floor(density * n)` + 1)-th largest magnitude, the authors' rule.
#[derive(Debug)]
pub(crate) struct WholeModelSearch {
    keep: u64,
    digit: Digit,
    above: u64,
    counts: Mutex<Vec<u64>>,
}

impl WholeModelSearch {
    /// Searches among `elements` elements of one working type.
    #[must_use]
    pub(crate) fn new(density: f64, elements: u64, precision: ComputeType) -> Self {
        let keep = ((density * elements as f64) as u64 + 1).min(elements.max(1));
        let digit = digit_below(key_bits(precision), 0);
        Self { keep, digit, above: 0, counts: Mutex::new(vec![0; 1 << 16]) }
    }

    /// Looks at one chunk of one tensor.
    pub(crate) fn visit(&self, backend: &dyn MergeKernels, delta: Delta<'_>) {
        let mut local = vec![0; 1 << self.digit.bits];
        backend.magnitude_histogram(delta, self.digit, &mut local);
        lock(&self.counts).iter_mut().zip(local).for_each(|(total, n)| *total += n);
    }

    /// Ends a round: the threshold, or `None` when another round is needed.
    pub(crate) fn next_round(&mut self) -> Option<u64> {
        let counts = std::mem::take(into_inner(&mut self.counts));
        let (value, above, _) = descend(&counts, self.above, self.keep);
        let prefix = self.digit.prefix << self.digit.bits | value;
        if self.digit.shift == 0 {
            return Some(prefix);
        }
        self.above = above;
        self.digit = digit_below(self.digit.shift, prefix);
        self.counts = Mutex::new(vec![0; 1 << self.digit.bits]);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::chunks;
    use super::*;
    use crate::compute::merge::Operand;
    use crate::compute::merge::cpu::Cpu;
    use crate::dtype::DType;
    use crate::rng::Philox;

    /// Runs a trim over a tensor and applies the selection.
    fn kept(values: &[f32], keep: u64) -> Vec<bool> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut trim = Trim::largest(0, keep, values.len() as u64, ComputeType::F32);
        let mut rounds = 0;
        loop {
            for (index, range) in chunks(values.len() as u64).enumerate() {
                let piece = &bytes[range.start as usize * 4..range.end as usize * 4];
                let operands = vec![Operand { bytes: piece, dtype: DType::F32 }];
                trim.visit(&Cpu, &ChunkInputs { index, range, operands, base: None, precision: ComputeType::F32 });
            }
            rounds += 1;
            assert!(rounds < 8);
            if !trim.next_round() {
                break;
            }
        }
        values
            .iter()
            .enumerate()
            .map(|(i, v)| match trim.selection() {
                Selection::All => true,
                Selection::Magnitude { threshold, ties_before, .. } => {
                    let key = crate::compute::merge::magnitude_key_f32(*v);
                    key > threshold || key == threshold && (i as u64) < ties_before
                }
                _ => false,
            })
            .collect()
    }

    /// Stable sort by magnitude, largest first: the definition.
    fn naive(values: &[f32], keep: usize) -> Vec<bool> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(crate::compute::merge::magnitude_key_f32(values[i])));
        let mut kept = vec![false; values.len()];
        order[..keep].iter().for_each(|&i| kept[i] = true);
        kept
    }

    fn random(n: usize, shape: impl Fn(u32) -> f32) -> Vec<f32> {
        let stream = Philox::new(n as u64);
        (0..n as u64).map(|i| shape(stream.block(i)[0])).collect()
    }

    #[test]
    fn keeps_exactly_the_largest_on_every_kind_of_distribution() {
        let spread = |w: u32| (w as f32 / u32::MAX as f32 - 0.5).powi(3);
        let coarse = |w: u32| ((w % 13) as f32 - 6.0) / 100.0;
        let sparse = |w: u32| if w.is_multiple_of(5) { spread(w) } else { 0.0 };
        let constant = |_: u32| 0.25_f32;
        let two = |w: u32| if w.is_multiple_of(1000) { 1.0 } else { -0.5 };
        let odd = |w: u32| [f32::NAN, f32::INFINITY, f32::from_bits(w % 9), -0.0, 1.0][w as usize % 5];
        let shapes: [&dyn Fn(u32) -> f32; 6] = [&spread, &coarse, &sparse, &constant, &two, &odd];
        for n in [1_usize, 7, 1000, 140_001, 600_000] {
            for shape in shapes {
                let values = random(n, shape);
                for density in [0.0001, 0.2, 0.5, 0.999] {
                    let keep = ((density * n as f64) as usize).max(1);
                    let (ours, expected) = (kept(&values, keep as u64), naive(&values, keep));
                    // Zeros may be kept or not: they contribute nothing either way.
                    for (i, value) in values.iter().enumerate() {
                        assert!(
                            ours[i] == expected[i] || *value == 0.0,
                            "n {n}, density {density}, element {i} = {value}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_sample_that_misleads_falls_back_to_exact_counting() {
        // Everything large sits where the sample never looks.
        let values: Vec<f32> = (0..400_000)
            .map(|i| if i % sample_stride(400_000) < SAMPLE_RUN { 1e-6 } else { 1.0 + i as f32 * 1e-6 })
            .collect();
        assert_eq!(kept(&values, 100_000), naive(&values, 100_000));
    }

    #[test]
    fn the_whole_model_threshold_is_the_authors() {
        let values = random(5000, |w| (w % 997) as f32 / 997.0);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let delta =
            Delta { base: None, tuned: Operand { bytes: &bytes, dtype: DType::F32 }, precision: ComputeType::F32 };
        let mut search = WholeModelSearch::new(0.2, 5000, ComputeType::F32);
        let key = loop {
            search.visit(&Cpu, delta);
            if let Some(key) = search.next_round() {
                break key;
            }
        };
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        // The authors take the (n - floor(n * density))-th smallest, counted from 1.
        assert_eq!(f32::from_bits(key as u32), sorted[5000 - 1000 - 1]);
    }
}
