//! The exponential and its kin, the same bits on every CPU.

use crate::compute::simd::Simd;

/// e^x: within 2 units in the last place, infinity above the range, NaN for NaN; 0 where e^x is below the least
/// normal number, since CPUs take a hundred times as long over subnormal results.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2, the series in r by a polynomial of degree 6, the power exactly.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::V) -> S::V {
    let constant = |value: f32| simd.splat(value);
    // Beyond these the result is 0 or infinity anyway; a NaN is kept since it comes second.
    let unclamped = x;
    let x = simd.min(constant(89.5), simd.max(constant(LEAST), x));
    // Adding 1.5 * 2^23 rounds to a whole number.
    let round = constant(12_582_912.0);
    let n = simd.sub(simd.fma(x, constant(std::f32::consts::LOG2_E), round), round);
    // ln 2 in two parts, the first with so few bits that n times it is exact.
    let r = simd.fma(n, constant(-LN_2_HIGH), x);
    let r = simd.fma(n, constant(-LN_2_LOW), r);
    let mut sum = constant(SERIES[0]);
    for coefficient in &SERIES[1..] {
        sum = simd.fma(sum, r, constant(*coefficient));
    }
    simd.select_less(unclamped, constant(LEAST), constant(0.0), simd.scale_by_power(sum, n))
}

/// Just above -126 ln 2.
const LEAST: f32 = -87.336;

const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -0.000_212_194_44;

/// Of e^r on |r| <= ln 2 / 2, highest power first; fitted for the least relative error.
const SERIES: [f32; 7] = [0.001_381_461, 0.008_368_71, 0.041_668_39, 0.166_665_21, 0.499_999_94, 1.0, 1.0];

/// Of (tanh x / x - 1) / x^2 in x^2 below 0.64^2, highest power first.
const TANH_SERIES: [f32; 5] = [-0.005_603_905_3, 0.020_551_711, -0.053_714_104, 0.133_311_52, -0.333_332_72];

/// Of erf x / x in x^2 below 1, highest power first.
const ERF_SERIES: [f32; 7] = [
    7.889_119e-5,
    -0.000_802_084_1,
    0.005_189_535,
    -0.026_854_444,
    0.112_836,
    -0.376_126_26,
    std::f32::consts::FRAC_2_SQRT_PI,
];

/// Of ln erfc x from 1 to 4, highest power first.
const ERFC_EXPONENT: [f32; 7] =
    [0.000_185_574_9, -0.002_939_615_6, 0.021_805_352, -0.103_037_43, -0.638_225_6, -1.127_04, -0.000_353_708_92];

/// tanh x: within 3 units in the last place.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    let constant = |value: f32| simd.splat(value);
    let negative = simd.sub(constant(0.0), x);
    let size = simd.max(negative, x);
    // Small: an odd series. Large: 1 - 2 / (e^2x + 1), where nothing cancels.
    let square = simd.mul(x, x);
    let mut sum = constant(TANH_SERIES[0]);
    for coefficient in &TANH_SERIES[1..] {
        sum = simd.fma(sum, square, constant(*coefficient));
    }
    let small = simd.fma(simd.mul(sum, square), x, x);
    let power = exp(simd, simd.add(size, size));
    let large = simd.sub(constant(1.0), simd.div(constant(2.0), simd.add(power, constant(1.0))));
    let large = simd.select_less(x, constant(0.0), simd.sub(constant(0.0), large), large);
    simd.select_less(size, constant(0.625), small, large)
}

/// erf x: absolute error below 1.5e-7.
#[inline(always)]
pub(crate) fn erf<S: Simd>(simd: S, x: S::V) -> S::V {
    let constant = |value: f32| simd.splat(value);
    let negative = simd.sub(constant(0.0), x);
    let size = simd.max(negative, x);
    let square = simd.mul(x, x);
    let mut sum = constant(ERF_SERIES[0]);
    for coefficient in &ERF_SERIES[1..] {
        sum = simd.fma(sum, square, constant(*coefficient));
    }
    let small = simd.mul(sum, x);
    // Large: 1 - e^q(x), beyond 4 it is 1.
    let clamped = simd.min(constant(4.0), size);
    let mut sum = constant(ERFC_EXPONENT[0]);
    for coefficient in &ERFC_EXPONENT[1..] {
        sum = simd.fma(sum, clamped, constant(*coefficient));
    }
    let large = simd.sub(constant(1.0), exp(simd, sum));
    let large = simd.select_less(x, constant(0.0), simd.sub(constant(0.0), large), large);
    simd.select_less(size, constant(1.0), small, large)
}
