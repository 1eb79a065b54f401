//! What every backend must do, tested against the scalar one: one macro, one set of tests a backend.

use proptest::prelude::*;

use crate::compute::merge::cpu::scalar::Scalar;
use crate::compute::merge::{
    Backend, Bracket, Coefficient, Delta, Digit, Operand, Output, Precision, Selection, TaskVectors, WeightedSum,
};
use crate::dtype::{DType, f32_to_bf16, f32_to_f16};
use crate::rng::Philox;

const DTYPES: [DType; 4] = [DType::BF16, DType::F16, DType::F32, DType::F64];

/// Bytes of `n` elements, some special, at an odd offset so that nothing is aligned.
fn bytes(dtype: DType, n: usize, seed: u64, spread: f32) -> Vec<u8> {
    let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, 6e-8, -3.5, 65504.0, 1e38];
    let stream = Philox::new(seed);
    let mut bytes = vec![0_u8; 1];
    for i in 0..n as u64 {
        let [a, b, ..] = stream.block(i);
        let value = if b.is_multiple_of(41) {
            special[(b / 41) as usize % special.len()]
        } else {
            (a as f32 / u32::MAX as f32 - 0.5) * spread
        };
        match dtype {
            DType::BF16 => bytes.extend(f32_to_bf16(value).to_le_bytes()),
            DType::F16 => bytes.extend(f32_to_f16(value).to_le_bytes()),
            DType::F32 => bytes.extend(value.to_le_bytes()),
            _ => bytes.extend((f64::from(value) * 1.000_000_000_1).to_le_bytes()),
        }
    }
    bytes
}

/// The inputs of a case: base and three models.
struct Case {
    data: Vec<(DType, Vec<u8>)>,
    precision: Precision,
    output: DType,
}

impl Case {
    fn new(dtypes: [usize; 4], output: usize, n: usize, seed: u64) -> Self {
        let data: Vec<_> = dtypes
            .iter()
            .enumerate()
            .map(|(i, d)| (DTYPES[*d], bytes(DTYPES[*d], n, seed.wrapping_add(i as u64), 0.1)))
            .collect();
        let wide = DTYPES[output] == DType::F64 || data.iter().any(|(d, _)| *d == DType::F64);
        let precision = if wide { Precision::F64 } else { Precision::F32 };
        Self { data, precision, output: DTYPES[output] }
    }

    fn operands(&self) -> Vec<Operand<'_>> {
        self.data.iter().map(|(dtype, bytes)| Operand { bytes: &bytes[1..], dtype: *dtype }).collect()
    }

    fn run(&self, work: impl Fn(Output<'_>)) -> Vec<u8> {
        let mut bytes = vec![0xaa; self.operands()[0].len() * self.output.bytes()];
        work(Output { bytes: &mut bytes, dtype: self.output });
        bytes
    }
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![0_usize..70, Just(255), Just(1024), Just(1025), 2000_usize..3000]
}

/// Maps: byte for byte.
pub(crate) fn maps(backend: &dyn Backend) {
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
        prop_assert_eq!(case.run(|o| backend.weighted_sum(&job, o)), case.run(|o| Scalar.weighted_sum(&job, o)));

        let threshold = match precision {
            Precision::F32 => u64::from(0.03_f32.to_bits()),
            Precision::F64 => 0.03_f64.to_bits(),
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
        backend.magnitude_sums(delta, random, 2048, Some(&mut mask));
        let mut expected = vec![0xdd; n.div_ceil(64)];
        Scalar.magnitude_sums(delta, random, 2048, Some(&mut expected));
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
        prop_assert_eq!(case.run(|o| backend.task_vectors(&job, o)), case.run(|o| Scalar.task_vectors(&job, o)));

        let factor = if flags[0] { 1.0 } else { 0.3 };
        prop_assert_eq!(
            case.run(|o| backend.scale(operands[0], factor, precision, o)),
            case.run(|o| Scalar.scale(operands[0], factor, precision, o))
        );
    });
}

/// NaN is equal to NaN here; everything else bit for bit.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// Statistics: exact counts, sums in the fixed shape.
pub(crate) fn statistics(backend: &dyn Backend) {
    let strategy = ([0_usize..4, 0_usize..4, 0_usize..4, 0_usize..4], sizes(), any::<u64>(), any::<bool>());
    proptest!(ProptestConfig::with_cases(150), |((dtypes, n, seed, with_base) in strategy)| {
        let case = Case::new(dtypes, dtypes[0], n, seed);
        let operands = case.operands();
        let precision = case.precision;
        let base = with_base.then_some(operands[0]);
        let vectors: Vec<Delta<'_>> = operands[1..].iter().map(|t| Delta { base, tuned: *t, precision }).collect();

        let sums = |b: &dyn Backend| { let mut s = vec![0.5; 6]; b.products(&vectors, &mut s); s };
        prop_assert!(sums(backend).iter().zip(sums(&Scalar)).all(|(a, b)| same(*a, b)));
        let columns = |b: &dyn Backend| { let mut s = vec![0.5; 6 * n]; b.column_products(&vectors, &mut s); s };
        prop_assert!(columns(backend).iter().zip(columns(&Scalar)).all(|(a, b)| same(*a, b)));

        let (low, width) = match precision {
            Precision::F32 => (u64::from(0.01_f32.to_bits()), 31),
            Precision::F64 => (0.01_f64.to_bits(), 63),
        };
        for vector in &vectors {
            let bracket = Bracket { low, high: low + (1 << 22) };
            let scan = |b: &dyn Backend| {
                let mut inside = Vec::new();
                let above = b.magnitude_bracket(*vector, bracket, &mut inside);
                inside.sort_unstable();
                (above, inside)
            };
            prop_assert_eq!(scan(backend), scan(&Scalar));
            for digit in [
                Digit { shift: width - 16, bits: 16, prefix: 0 },
                Digit { shift: 0, bits: 15, prefix: low >> 15 },
            ] {
                let count = |b: &dyn Backend| { let mut c = vec![0; 1 << 16]; b.magnitude_histogram(*vector, digit, &mut c); c };
                prop_assert_eq!(count(backend), count(&Scalar));
            }
            prop_assert_eq!(backend.magnitude_counts(*vector, low), Scalar.magnitude_counts(*vector, low));
            prop_assert_eq!(backend.magnitude_positions(*vector, 0, 5), Scalar.magnitude_positions(*vector, 0, 5));
            let stride = [100, 128][(seed % 2) as usize];
            let sample = |b: &dyn Backend| {
                let mut keys = Vec::new();
                b.magnitude_sample(*vector, 32, stride, &mut keys);
                keys.sort_unstable();
                keys
            };
            prop_assert_eq!(sample(backend), sample(&Scalar));
            let random = Selection::Random { stream: Philox::new(seed), keep_below: 1 << 30, rescale: 9.0 };
            let (a, b) = (
                backend.magnitude_sums(*vector, random, 1024, None),
                Scalar.magnitude_sums(*vector, random, 1024, None),
            );
            prop_assert!(same(a.0, b.0) && same(a.1, b.1), "{:?} {:?}", a, b);
            prop_assert_eq!(backend.non_finite(vector.tuned), Scalar.non_finite(vector.tuned));
        }
        let (a, b) = (backend.delta_statistics(operands[0], &operands[1..]), Scalar.delta_statistics(operands[0], &operands[1..]));
        prop_assert!(a.products.iter().zip(&b.products).all(|(a, b)| same(*a, *b)) && same(a.base_square, b.base_square));
        prop_assert_eq!((a.zeros, a.largest, a.conflicts, a.contested), (b.zeros, b.largest, b.conflicts, b.contested));
    });
}

/// One set of tests for each backend.
macro_rules! conformance {
    ($($name:ident: $backend:expr;)*) => {$(
        mod $name {
            #[test]
            fn maps_write_the_bytes_of_the_definition() {
                crate::compute::conformance::merge::maps(&$backend);
            }

            #[test]
            fn statistics_are_those_of_the_definition() {
                crate::compute::conformance::merge::statistics(&$backend);
            }
        }
    )*};
}

conformance! {
    cpu: crate::compute::merge::cpu::Cpu;
}
