//! Task-vector statistics as plain data, and their sums over groups of tensors.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::compute::merge::DeltaSummary;

/// Statistics of a tensor, or of a group of tensors taken as one vector.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct GroupSummary {
    /// Tensor or module name, `layer N`, `outside layers` or `total`.
    pub name: String,
    /// The decoder layer, for layers and for tensors inside one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<u64>,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of elements.
    pub elements: u64,
    /// Euclidean norm of the base.
    pub base_norm: Option<f64>,
    /// One for each fine-tuned model, in order.
    pub task_vectors: Vec<VectorStatistics>,
    /// One for each pair of fine-tuned models; empty when there is only one model.
    pub pairs: Vec<PairStatistics>,
    /// Sign conflicts between task vectors; absent when there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_conflicts: Option<SignConflicts>,
}

/// One task vector. A value that is not a finite number is absent (`null`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct VectorStatistics {
    /// Euclidean norm.
    pub norm: Option<f64>,
    /// Norm divided by the base's norm; absent when the base is zero.
    pub relative_norm: Option<f64>,
    /// Elements equal to the base's.
    pub zeros: u64,
    /// The same as a share of all elements; absent when there are none.
    pub zero_share: Option<f64>,
    /// Largest magnitude.
    pub largest: Option<f64>,
}

/// Two task vectors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct PairStatistics {
    /// Position of the first in the list of fine-tuned models.
    pub first: usize,
    /// Position of the second.
    pub second: usize,
    /// Cosine of the angle between them; absent when one is zero.
    pub cosine: Option<f64>,
}

/// Frequency of sign conflicts between task vectors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct SignConflicts {
    /// Elements where two task vectors have opposite signs.
    pub conflicts: u64,
    /// Elements where at least two task vectors are not zero.
    pub contested: u64,
    /// Conflicts as a share of contested elements; absent when there are none.
    pub rate: Option<f64>,
}

/// Sums over the tensors of a group.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_field_names, reason = "they are the sums")]
pub(crate) struct Sums {
    tensors: usize,
    elements: u64,
    sums: DeltaSummary,
}

impl Sums {
    /// Adds a tensor. Floating-point sums depend on the order of these calls.
    pub(crate) fn add(&mut self, elements: u64, tensor: &DeltaSummary) {
        self.tensors += 1;
        self.elements += elements;
        self.sums.add(tensor);
    }

    /// The statistics of `models` task vectors.
    #[must_use]
    pub(crate) fn finish(&self, name: String, layer: Option<u64>, models: usize) -> GroupSummary {
        let sums = &self.sums;
        // A group without tensors has no sums yet.
        let product = |i: usize, j: usize| sums.products.get(pair_index(i, j, models)).copied().unwrap_or(0.0);
        let norm = |i: usize| product(i, i).sqrt();
        let base_norm = sums.base_square.sqrt();
        let task_vectors = (0..models)
            .map(|i| {
                let zeros = sums.zeros.get(i).copied().unwrap_or(0);
                VectorStatistics {
                    norm: finite(norm(i)),
                    relative_norm: ratio(norm(i), base_norm),
                    zeros,
                    zero_share: ratio(zeros as f64, self.elements as f64),
                    // The kernel's maximum passes over NaN; the norm tells.
                    largest: finite(norm(i)).and_then(|_| finite(sums.largest.get(i).copied().unwrap_or(0.0))),
                }
            })
            .collect();
        let pairs = (0..models).flat_map(|i| (i + 1..models).map(move |j| (i, j)));
        let pairs = pairs
            .map(|(first, second)| {
                let cosine = ratio(product(first, second), norm(first) * norm(second));
                PairStatistics { first, second, cosine: cosine.map(|c| c.clamp(-1.0, 1.0)) }
            })
            .collect();
        let rate = ratio(sums.conflicts as f64, sums.contested as f64);
        let sign_conflicts =
            (models > 1).then_some(SignConflicts { conflicts: sums.conflicts, contested: sums.contested, rate });
        GroupSummary {
            name,
            layer,
            tensors: self.tensors,
            elements: self.elements,
            base_norm: finite(base_norm),
            task_vectors,
            pairs,
            sign_conflicts,
        }
    }
}

/// Sums of several groups, kept in the order of their keys.
#[derive(Debug, Clone)]
pub(crate) struct Groups<K>(BTreeMap<K, (String, Option<u64>, Sums)>);

impl<K: Ord> Default for Groups<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Groups<K> {
    /// Adds a tensor to the group of `key`, which has this name and layer.
    pub(crate) fn add(&mut self, key: K, name: impl Into<String>, layer: Option<u64>, part: (u64, &DeltaSummary)) {
        let group = self.0.entry(key).or_insert_with(|| (name.into(), layer, Sums::default()));
        group.2.add(part.0, part.1);
    }

    /// The statistics of all groups.
    #[must_use]
    pub(crate) fn finish(self, models: usize) -> Vec<GroupSummary> {
        self.0.into_values().map(|(name, layer, sums)| sums.finish(name, layer, models)).collect()
    }
}

/// Position of `(i, j)`, `i <= j`, among all pairs of `n`.
#[must_use]
pub(crate) fn pair_index(i: usize, j: usize, n: usize) -> usize {
    (0..i).map(|row| n - row).sum::<usize>() + (j - i)
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    if whole == 0.0 { None } else { finite(part / whole).filter(|_| whole.is_finite()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_row_by_row() {
        let mut next = 0;
        for i in 0..4 {
            for j in i..4 {
                assert_eq!(pair_index(i, j, 4), next);
                next += 1;
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_absent() {
        let zero = DeltaSummary { products: vec![0.0, 0.0, 4.0], zeros: vec![3, 0], ..Default::default() };
        let mut sums = Sums::default();
        sums.add(3, &zero);
        let group = sums.finish("x".into(), None, 2);
        assert_eq!(group.pairs[0].cosine, None);
        assert_eq!(group.task_vectors[0].zero_share, Some(1.0));
        assert_eq!((group.task_vectors[1].norm, group.task_vectors[1].relative_norm), (Some(2.0), None));
        assert_eq!(group.sign_conflicts.unwrap().rate, None);
        sums.add(1, &DeltaSummary { products: vec![f64::NAN; 3], base_square: f64::INFINITY, ..zero });
        let group = sums.finish("x".into(), None, 2);
        assert_eq!((group.base_norm, group.task_vectors[1].norm, group.task_vectors[1].largest), (None, None, None));
        let json = serde_json::to_string(&Sums::default().finish("e".into(), None, 1)).unwrap();
        assert!(json.contains("\"zero_share\":null"), "{json}");
    }
}
