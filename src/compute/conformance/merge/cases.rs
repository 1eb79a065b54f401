//! Generated operands of the merge suite.

use proptest::prelude::*;

use crate::compute::merge::{ComputeType, Operand, Output};
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

/// Base and three models of random dtypes.
pub(crate) struct Case {
    data: Vec<(DType, Vec<u8>)>,
    pub(crate) precision: ComputeType,
    output: DType,
}

impl Case {
    pub(crate) fn new(dtypes: [usize; 4], output: usize, n: usize, seed: u64) -> Self {
        let data: Vec<_> = dtypes
            .iter()
            .enumerate()
            .map(|(i, d)| (DTYPES[*d], bytes(DTYPES[*d], n, seed.wrapping_add(i as u64), 0.1)))
            .collect();
        let wide = DTYPES[output] == DType::F64 || data.iter().any(|(d, _)| *d == DType::F64);
        let precision = if wide { ComputeType::F64 } else { ComputeType::F32 };
        Self { data, precision, output: DTYPES[output] }
    }

    pub(crate) fn operands(&self) -> Vec<Operand<'_>> {
        self.data.iter().map(|(dtype, bytes)| Operand { bytes: &bytes[1..], dtype: *dtype }).collect()
    }

    pub(crate) fn run(&self, work: impl Fn(Output<'_>)) -> Vec<u8> {
        let mut bytes = vec![0xaa; self.operands()[0].len() * self.output.bytes()];
        work(Output { bytes: &mut bytes, dtype: self.output });
        bytes
    }
}

/// Numbers of elements around the blocks, groups and runs of the kernels.
pub(crate) fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![0_usize..70, Just(255), Just(1024), Just(1025), 2000_usize..3000]
}
