//! Sixteen lanes in two AVX2 registers.

use std::arch::x86_64::{
    __m128i, __m256, _CMP_LT_OQ, _MM_HINT_T0, _mm_loadu_ps, _mm_loadu_si128, _mm_prefetch, _mm256_add_epi32,
    _mm256_add_ps, _mm256_blendv_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_castps128_ps256, _mm256_castsi256_ps,
    _mm256_cmp_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_fmadd_ps,
    _mm256_insertf128_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_srai_epi32, _mm256_storeu_ps, _mm256_sub_epi32,
    _mm256_sub_ps, _mm256_unpackhi_pd, _mm256_unpackhi_ps, _mm256_unpacklo_pd, _mm256_unpacklo_ps,
};

use super::avx512::Avx512;
use super::tile::{Element, Line, Operands, Tile};
use super::vector::{Group, LANES, Simd, Task, intrinsics};

/// Token of x86-64-v3: AVX2 with FMA, F16C, BMI and what else CPUs with AVX2 have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

/// Lanes 0 to 7 and 8 to 15.
type Pair = [__m256; 2];

impl Avx2 {
    /// Returns the token where the CPU and the operating system support the level.
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(()))
    }

    /// The token of a CPU with AVX-512, whose check covers every feature of this level.
    pub(super) fn of_avx512(_: Avx512) -> Self {
        Self(())
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,f16c,fma,lzcnt,popcnt")]
fn enabled<T: Task>(simd: Avx2, task: T) -> T::Output {
    task.run(simd)
}

/// Micro-kernel of `R` rows, a function of its own so that registers are allocated for it alone.
///
/// # Safety
/// As [`Operands`] says.
#[target_feature(enable = "avx2,bmi1,bmi2,f16c,fma,lzcnt,popcnt")]
#[inline(never)]
unsafe fn tile<E: Element, const R: usize>(simd: Avx2, operands: Operands<E>) {
    // SAFETY: the caller upholds the contract of `Operands`.
    unsafe { Tile::<E, R, 1>::new(operands).run(simd) }
}

/// Widens eight bf16.
#[target_feature(enable = "avx2")]
#[inline]
fn bf16(half: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)))
}

/// `v * 2^power` by two factors, since 2^power itself may be outside the range; the first product
/// is exact.
#[target_feature(enable = "avx2")]
#[inline]
fn scaled(v: __m256, power: __m256) -> __m256 {
    let power = _mm256_cvtps_epi32(power);
    let first = _mm256_srai_epi32::<1>(power);
    let bias = _mm256_set1_epi32(127);
    let factor = |p| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(p, bias)));
    _mm256_mul_ps(_mm256_mul_ps(v, factor(first)), factor(_mm256_sub_epi32(power, first)))
}

/// Transposes a 16 x 16 block in 4 x 4 blocks: each 128-bit half of a register gathers its four lines straight from
/// memory, which leaves two rounds of unpacking and no permutation across halves.
#[target_feature(enable = "avx2")]
#[inline]
fn transposed(lines: &[Line<f32>; LANES], half: usize) -> [Pair; LANES] {
    assert!(half < 2, "a line has two halves");
    let mut columns = [[_mm256_setzero_ps(); 2]; LANES];
    for end in 0..2 {
        for quad in (0..LANES).step_by(4) {
            let four = |first: usize| {
                // SAFETY: `half` is checked to be below 2, so that the four elements lie in the line.
                let part =
                    |row: usize| unsafe { _mm_loadu_ps(lines[8 * end + row].0.as_ptr().add(LANES * half + quad)) };
                _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(part(first)), part(first + 4))
            };
            let (a, b, c, d) = (four(0), four(1), four(2), four(3));
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (low_end, high_end) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            let (low, high) = (_mm256_castps_pd(low), _mm256_castps_pd(high));
            let (low_end, high_end) = (_mm256_castps_pd(low_end), _mm256_castps_pd(high_end));
            columns[quad][end] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, low_end));
            columns[quad + 1][end] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, low_end));
            columns[quad + 2][end] = _mm256_castpd_ps(_mm256_unpacklo_pd(high, high_end));
            columns[quad + 3][end] = _mm256_castpd_ps(_mm256_unpackhi_pd(high, high_end));
        }
    }
    columns
}

impl Simd for Avx2 {
    type V = Pair;
    const MR: usize = 6;

    #[inline(always)]
    fn vectorize<T: Task>(self, task: T) -> T::Output {
        // SAFETY: the token is only constructed after the CPU feature check.
        unsafe { enabled(self, task) }
    }

    #[inline(always)]
    unsafe fn tile<E: Element>(self, rows: usize, operands: Operands<E>) {
        // SAFETY: the token is only constructed after the CPU feature check; the caller upholds the contract of `Operands`.
        unsafe {
            match rows {
                1 => tile::<E, 1>(self, operands),
                2 => tile::<E, 2>(self, operands),
                3 => tile::<E, 3>(self, operands),
                4 => tile::<E, 4>(self, operands),
                5 => tile::<E, 5>(self, operands),
                _ => tile::<E, 6>(self, operands),
            }
        }
    }

    intrinsics! {
        fn splat(value: f32) -> Pair { [_mm256_set1_ps(value); 2] }
        fn load(from: &Group) -> Pair { [_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))] }
        fn store(v: Pair, to: &mut Group) {{
            _mm256_storeu_ps(to.as_mut_ptr(), v[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), v[1]);
        }}
        fn widen_bf16(from: &[u16; LANES]) -> Pair {
            [bf16(_mm_loadu_si128(from.as_ptr().cast())), bf16(_mm_loadu_si128(from.as_ptr().add(8).cast()))]
        }
        fn widen_f16(from: &[u16; LANES]) -> Pair {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().add(8).cast())),
            ]
        }
        fn add(a: Pair, b: Pair) -> Pair { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        fn sub(a: Pair, b: Pair) -> Pair { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
        fn mul(a: Pair, b: Pair) -> Pair { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        fn div(a: Pair, b: Pair) -> Pair { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
        fn fma(a: Pair, b: Pair, c: Pair) -> Pair {
            [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
        }
        fn max(a: Pair, b: Pair) -> Pair { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
        fn min(a: Pair, b: Pair) -> Pair { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
        fn select_less(a: Pair, b: Pair, x: Pair, y: Pair) -> Pair {
            [
                _mm256_blendv_ps(y[0], x[0], _mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0])),
                _mm256_blendv_ps(y[1], x[1], _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])),
            ]
        }
        fn scale_by_power(v: Pair, power: Pair) -> Pair { [scaled(v[0], power[0]), scaled(v[1], power[1])] }
        fn transpose(lines: &[Line<f32>; LANES], half: usize) -> [Pair; LANES] { transposed(lines, half) }
    }

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        // SAFETY: a prefetch changes no memory and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}
