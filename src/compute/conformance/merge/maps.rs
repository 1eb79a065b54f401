//! Maps: byte for byte.

use proptest::prelude::*;

use super::cases::{Case, sizes};
use super::reference::Reference;
use crate::compute::merge::{Coefficient, ComputeType, Delta, MergeKernels, Selection, TaskVectors, WeightedSum};
use crate::rng::Philox;

/// Compares every map with the oracle.
pub(crate) fn maps(kernels: &dyn MergeKernels) {
    let strategy = (
        [0_usize..4, 0_usize..4, 0_usize..4, 0_usize..4],
        0_usize..4,
        sizes(),
        any::<u64>(),
        any::<[bool; 4]>(),
        0_usize..4,
    );
    proptest!(ProptestConfig::with_cases(300), |((dtypes, output, n, seed, flags, kind) in strategy)| {
        let case = Case::new(dtypes, output, n, seed);
        let operands = case.operands();
        let precision = case.precision;
        let per_element: Vec<f64> = (0..n).map(|i| (i as f64 * 0.37).sin()).collect();
        let mixed = if flags[3] { Coefficient::PerElement(&per_element) } else { Coefficient::Uniform(-0.3) };
        let coefficients = [Coefficient::Uniform(0.4), mixed, Coefficient::Uniform(1.0 / 3.0)];

        let divisor = flags[0].then_some(1.1);
        let job = WeightedSum { inputs: &operands[1..], coefficients: &coefficients, divisor, precision };
        prop_assert_eq!(case.run(|o| kernels.weighted_sum(&job, o)), case.run(|o| Reference.weighted_sum(&job, o)));

        let threshold = match precision {
            ComputeType::F32 => u64::from(0.03_f32.to_bits()),
            ComputeType::F64 => 0.03_f64.to_bits(),
        };
        // Limits of one bit, of some and of many, and the one that keeps all.
        let keep_below = [1 << 31, 3 << 24, 858_993_459, 1 << 32][usize::from(flags[1]) * 2 + usize::from(flags[2])];
        let part = if flags[2] { Selection::All } else { Selection::Nothing };
        let ties_before = 2048 + [0, n as u64 / 2, 3, n as u64][(seed % 4) as usize];
        let magnitude = Selection::Magnitude { threshold, ties_before, rescale: 1.7 };
        let random = Selection::Random { stream: Philox::new(seed), keep_below, rescale: 2.5 };
        let whole = Selection::Magnitude { threshold: 0, ties_before: 0, rescale: 1.0 };
        // Of one kind, as methods ask for them, and mixed.
        let selections = [
            [part, magnitude, random],
            [part, whole, magnitude],
            [part, random, random],
            [part, Selection::All, Selection::All],
        ][kind];
        let delta = Delta { base: Some(operands[0]), tuned: operands[3], precision };
        let mut mask = vec![0xee; n.div_ceil(64)];
        kernels.magnitude_sums(delta, random, 2048, Some(&mut mask));
        let mut expected = vec![0xdd; n.div_ceil(64)];
        Reference.magnitude_sums(delta, random, 2048, Some(&mut expected));
        prop_assert_eq!(&mask, &expected);
        let masks = [None, None, Some(&mask[..])];
        let job = TaskVectors {
            base: operands[0],
            inputs: &operands[1..],
            selections: &selections,
            masks: if flags[3] { &masks } else { &[] },
            coefficients: &coefficients,
            consensus: flags[0],
            normalize: flags[1],
            divisor: flags[2].then_some(0.7),
            scale: 0.9,
            first_element: 2048,
            precision,
        };
        prop_assert_eq!(case.run(|o| kernels.task_vectors(&job, o)), case.run(|o| Reference.task_vectors(&job, o)));

        let factor = if flags[0] { 1.0 } else { 0.3 };
        prop_assert_eq!(
            case.run(|o| kernels.scale(operands[0], factor, precision, o)),
            case.run(|o| Reference.scale(operands[0], factor, precision, o))
        );
    });
}
