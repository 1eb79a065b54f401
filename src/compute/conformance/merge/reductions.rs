//! Reductions: exact counts, and sums in the fixed shape bit for bit.

use proptest::prelude::*;

use super::cases::{Case, sizes};
use super::reference::Reference;
use crate::compute::merge::{Bracket, ComputeType, Delta, Digit, MergeKernels, Selection};
use crate::rng::Philox;

/// Bit for bit, but for the payload of NaN.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// Compares every reduction with the oracle.
pub(crate) fn reductions(kernels: &dyn MergeKernels) {
    let strategy = ([0_usize..4, 0_usize..4, 0_usize..4, 0_usize..4], sizes(), any::<u64>(), any::<bool>());
    proptest!(ProptestConfig::with_cases(150), |((dtypes, n, seed, with_base) in strategy)| {
        let case = Case::new(dtypes, dtypes[0], n, seed);
        let operands = case.operands();
        let precision = case.precision;
        let base = with_base.then_some(operands[0]);
        let vectors: Vec<Delta<'_>> = operands[1..].iter().map(|t| Delta { base, tuned: *t, precision }).collect();

        let sums = |b: &dyn MergeKernels| { let mut s = vec![0.5; 6]; b.products(&vectors, &mut s); s };
        prop_assert!(sums(kernels).iter().zip(sums(&Reference)).all(|(a, b)| same(*a, b)));
        let columns = |b: &dyn MergeKernels| { let mut s = vec![0.5; 6 * n]; b.column_products(&vectors, &mut s); s };
        prop_assert!(columns(kernels).iter().zip(columns(&Reference)).all(|(a, b)| same(*a, b)));

        let (low, width) = match precision {
            ComputeType::F32 => (u64::from(0.01_f32.to_bits()), 31),
            ComputeType::F64 => (0.01_f64.to_bits(), 63),
        };
        for vector in &vectors {
            let bracket = Bracket { low, high: low + (1 << 22) };
            let scan = |b: &dyn MergeKernels| {
                let mut inside = Vec::new();
                let above = b.magnitude_bracket(*vector, bracket, &mut inside);
                inside.sort_unstable();
                (above, inside)
            };
            prop_assert_eq!(scan(kernels), scan(&Reference));
            for digit in [
                Digit { shift: width - 16, bits: 16, prefix: 0 },
                Digit { shift: 0, bits: 15, prefix: low >> 15 },
            ] {
                let count = |b: &dyn MergeKernels| { let mut c = vec![0; 1 << 16]; b.magnitude_histogram(*vector, digit, &mut c); c };
                prop_assert_eq!(count(kernels), count(&Reference));
            }
            prop_assert_eq!(kernels.magnitude_counts(*vector, low), Reference.magnitude_counts(*vector, low));
            prop_assert_eq!(kernels.magnitude_positions(*vector, 0, 5), Reference.magnitude_positions(*vector, 0, 5));
            let stride = [100, 128][(seed % 2) as usize];
            let sample = |b: &dyn MergeKernels| {
                let mut keys = Vec::new();
                b.magnitude_sample(*vector, 32, stride, &mut keys);
                keys.sort_unstable();
                keys
            };
            prop_assert_eq!(sample(kernels), sample(&Reference));
            let random = Selection::Random { stream: Philox::new(seed), keep_below: 1 << 30, rescale: 9.0 };
            let (a, b) = (
                kernels.magnitude_sums(*vector, random, 1024, None),
                Reference.magnitude_sums(*vector, random, 1024, None),
            );
            prop_assert!(same(a.0, b.0) && same(a.1, b.1), "{:?} {:?}", a, b);
            prop_assert_eq!(kernels.non_finite(vector.tuned), Reference.non_finite(vector.tuned));
        }
        let (a, b) = (kernels.delta_summary(operands[0], &operands[1..]), Reference.delta_summary(operands[0], &operands[1..]));
        prop_assert!(a.products.iter().zip(&b.products).all(|(a, b)| same(*a, *b)) && same(a.base_square, b.base_square));
        prop_assert_eq!((a.zeros, a.largest, a.conflicts, a.contested), (b.zeros, b.largest, b.conflicts, b.contested));
    });
}
