//! Inputs of the decoder's suites, and the comparison between levels.

use crate::compute::conformance::levels;
use crate::compute::nn::{PackedMatrix, WeightDtype};
use crate::compute::simd::Level;
use crate::dtype::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::rng::Philox;

/// Numbers in [-1, 1).
pub(crate) fn random(n: usize, seed: u64) -> Vec<f32> {
    let stream = Philox::new(seed);
    (0..n).map(|i| stream.block(i as u64)[0] as f32 / (1_u64 << 31) as f32 - 1.0).collect()
}

/// Bit patterns, which compare NaN and signed zeros exactly.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Runs at every level, asserts the same bits, and returns the result.
pub(crate) fn at_all_levels(what: &str, run: impl Fn(Level) -> Vec<f32>) -> Vec<f32> {
    let levels = Level::available();
    let first = run(levels[0]);
    for level in &levels[1..] {
        assert_eq!(bits(&run(*level)), bits(&first), "{what} at {}", levels::name(*level));
    }
    first
}

/// Packs a row-major weight.
pub(crate) fn pack(w: &[f32], n: usize, k: usize, dtype: WeightDtype) -> PackedMatrix {
    PackedMatrix::pack(n, k, dtype, &mut |row, out| out.copy_from_slice(&w[row * k..][..k]))
}

/// Rounds a weight as packing does.
pub(crate) fn stored(value: f32, dtype: WeightDtype) -> f32 {
    match dtype {
        WeightDtype::F32 => value,
        WeightDtype::Bf16 => bf16_to_f32(f32_to_bf16(value)),
        WeightDtype::F16 => f16_to_f32(f32_to_f16(value)),
    }
}

/// Storage types of packed weights.
pub(crate) const DTYPES: [WeightDtype; 3] = [WeightDtype::F32, WeightDtype::Bf16, WeightDtype::F16];
