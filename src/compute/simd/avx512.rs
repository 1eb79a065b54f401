//! Sixteen lanes in one AVX-512 register.

use std::arch::x86_64::{
    __m512, _CMP_LT_OQ, _MM_HINT_T0, _mm_loadu_ps, _mm_prefetch, _mm256_loadu_si256, _mm512_add_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_castps128_ps512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32,
    _mm512_cvtph_ps, _mm512_div_ps, _mm512_fmadd_ps, _mm512_insertf32x4, _mm512_loadu_ps, _mm512_mask_blend_ps,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use super::avx2::Avx2;
use super::tile::{Element, Line, Operands, Tile};
use super::vector::{Group, LANES, Simd, Task, intrinsics};

/// Token of x86-64-v4: AVX-512 F, BW, CD, DQ and VL, and all of x86-64-v3.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// Returns the token where the CPU and the operating system support the level.
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && Avx2::detect().is_some();
        has.then_some(Self(()))
    }

    /// The token of the level below.
    pub(crate) fn avx2(self) -> Avx2 {
        Avx2::of_avx512(self)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,bmi1,bmi2,f16c,fma,lzcnt,popcnt")]
fn enabled<T: Task>(simd: Avx512, task: T) -> T::Output {
    task.run(simd)
}

/// Micro-kernel of `R` rows, a function of its own so that registers are allocated for it alone.
///
/// # Safety
/// As [`Operands`] says.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,bmi1,bmi2,f16c,fma,lzcnt,popcnt")]
#[inline(never)]
unsafe fn tile<E: Element, const R: usize>(simd: Avx512, operands: Operands<E>) {
    // SAFETY: the caller upholds the contract of `Operands`.
    unsafe { Tile::<E, R, 2>::new(operands).run(simd) }
}

/// Transposes a 16 x 16 block in 4 x 4 blocks: each 128-bit quarter of a register gathers its four lines straight from
/// memory, which leaves two rounds of unpacking and no permutation across quarters.
#[target_feature(enable = "avx512f")]
#[inline]
fn transposed(lines: &[Line<f32>; LANES], half: usize) -> [__m512; LANES] {
    assert!(half < 2, "a line has two halves");
    let mut columns = [_mm512_setzero_ps(); LANES];
    let (quads, _) = columns.as_chunks_mut::<4>();
    for (quad, columns) in quads.iter_mut().enumerate() {
        // SAFETY: `half` is checked to be below 2, so that the four elements lie in the line.
        let part = |row: usize| unsafe { _mm_loadu_ps(lines[row].0.as_ptr().add(LANES * half + 4 * quad)) };
        let four = |first: usize| {
            let two = _mm512_insertf32x4::<1>(_mm512_castps128_ps512(part(first)), part(first + 4));
            _mm512_insertf32x4::<3>(_mm512_insertf32x4::<2>(two, part(first + 8)), part(first + 12))
        };
        let (a, b, c, d) = (four(0), four(1), four(2), four(3));
        let (low, high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (low_end, high_end) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let (low, high) = (_mm512_castps_pd(low), _mm512_castps_pd(high));
        let (low_end, high_end) = (_mm512_castps_pd(low_end), _mm512_castps_pd(high_end));
        *columns = [
            _mm512_castpd_ps(_mm512_unpacklo_pd(low, low_end)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(low, low_end)),
            _mm512_castpd_ps(_mm512_unpacklo_pd(high, high_end)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(high, high_end)),
        ];
    }
    columns
}

impl Simd for Avx512 {
    type V = __m512;
    const MR: usize = 14;

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
                6 => tile::<E, 6>(self, operands),
                7 => tile::<E, 7>(self, operands),
                8 => tile::<E, 8>(self, operands),
                9 => tile::<E, 9>(self, operands),
                10 => tile::<E, 10>(self, operands),
                11 => tile::<E, 11>(self, operands),
                12 => tile::<E, 12>(self, operands),
                13 => tile::<E, 13>(self, operands),
                _ => tile::<E, 14>(self, operands),
            }
        }
    }

    intrinsics! {
        fn splat(value: f32) -> __m512 { _mm512_set1_ps(value) }
        fn load(from: &Group) -> __m512 { _mm512_loadu_ps(from.as_ptr()) }
        fn store(v: __m512, to: &mut Group) { _mm512_storeu_ps(to.as_mut_ptr(), v) }
        fn widen_bf16(from: &[u16; LANES]) -> __m512 {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()))))
        }
        fn widen_f16(from: &[u16; LANES]) -> __m512 { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
        fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn fma(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn max(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn min(a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn select_less(a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), y, x)
        }
        fn scale_by_power(v: __m512, power: __m512) -> __m512 { _mm512_scalef_ps(v, power) }
        fn transpose(lines: &[Line<f32>; LANES], half: usize) -> [__m512; LANES] { transposed(lines, half) }
    }

    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        // SAFETY: a prefetch changes no memory and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}
