//! Trimming over a whole model: one threshold for all of a model's task vector.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::trim::{descend, digit_below, into_inner, keep_down_to, key_bits, lock};
use crate::compute::merge::{ComputeType, Delta, Digit, MergeKernels, Selection};
use crate::merge::methods::MethodFault;

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
    use super::*;
    use crate::compute::merge::Operand;
    use crate::compute::merge::cpu::Cpu;
    use crate::dtype::DType;
    use crate::rng::Philox;

    #[test]
    fn the_whole_model_threshold_is_the_authors() {
        let stream = Philox::new(5000);
        let values: Vec<f32> = (0..5000).map(|i| (stream.block(i)[0] % 997) as f32 / 997.0).collect();
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
