//! What stands for `avx512` on processors of another kind: nothing is ever detected.

use crate::compute::merge::{Bracket, Delta, Operand, Output, Selection, TaskVectors, WeightedSum};

/// No value of it exists.
#[derive(Clone, Copy)]
pub enum Avx512 {}

impl Avx512 {
    pub fn detect() -> Option<Self> {
        None
    }

    pub fn weighted_sum(self, _job: &WeightedSum<'_>, _output: &mut Output<'_>) -> usize {
        match self {}
    }

    pub fn task_vectors(self, _job: &TaskVectors<'_>, _output: &mut Output<'_>) -> usize {
        match self {}
    }

    pub fn products(self, _vectors: &[Delta<'_>], _sums: &mut [f64]) -> bool {
        match self {}
    }

    pub fn magnitude_sums(
        self,
        _delta: &Delta<'_>,
        _selection: Selection,
        _first: u64,
        _mask: Option<&mut [u64]>,
    ) -> (usize, (f64, f64)) {
        match self {}
    }

    pub fn magnitude_bracket(self, _delta: &Delta<'_>, _bracket: Bracket, _inside: &mut Vec<u32>) -> (usize, u64) {
        match self {}
    }

    pub fn magnitude_sample(self, _delta: &Delta<'_>, _run: usize, _stride: usize, _keys: &mut Vec<u32>) -> usize {
        match self {}
    }

    pub fn non_finite(self, _values: Operand<'_>) -> (usize, u64) {
        match self {}
    }
}
