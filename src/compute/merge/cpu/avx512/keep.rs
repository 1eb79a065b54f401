//! Selections of a group's elements, one type each, so that the loop over groups is compiled for each without branches.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_UNORD_Q, _mm512_and_si512, _mm512_castps_si512, _mm512_cmp_ps_mask, _mm512_cmpge_epi32_mask,
    _mm512_cmpgt_epi32_mask, _mm512_mask_cmpge_epi32_mask, _mm512_maskz_mul_ps, _mm512_set1_epi32,
};

use super::draws::{Bits, Draws};
use super::group::{GROUP, Group, any_nan, masks_of};
use crate::compute::merge::Selection;
use crate::compute::simd::Avx512;
use crate::rng::Philox;

/// Magnitude key of infinity; the keys of NaN are above it.
const INFINITY_KEY: u64 = 0x7f80_0000;

/// A selection of elements of a task vector.
pub(crate) trait Keep<'a>: Sized {
    /// Constructs the selection of a job whose first element is `first`, and its factor; `None` for another kind of
    /// selection. `mask` holds the draws, if they were made before.
    fn new(simd: Avx512, selection: Selection, mask: Option<&'a [u64]>, first: u64) -> Option<(Self, f64)>;

    /// Rescales the kept ones of elements `at..at + 64` and zeroes the others; NaN stays NaN. Inlined, so that the group
    /// stays in registers.
    fn keep(&mut self, at: usize, rescale: __m512, values: Group) -> Group;
}

/// All elements, unchanged.
pub(crate) struct KeepAll;

/// Magnitudes above a threshold, and those equal to it before some element of the job.
pub(crate) struct KeepLargest {
    threshold: __m512i,
    ties_before: u64,
}

/// Randomly drawn elements.
pub(crate) struct KeepRandom<'a> {
    draws: Draws,
    mask: Option<&'a [u64]>,
    first: u64,
    /// Draws of the current 1,024 elements.
    around: Bits,
}

impl Keep<'_> for KeepAll {
    fn new(_: Avx512, selection: Selection, _mask: Option<&[u64]>, _first: u64) -> Option<(Self, f64)> {
        (selection == Selection::All).then_some((Self, 1.0))
    }

    #[inline(always)]
    fn keep(&mut self, _at: usize, _rescale: __m512, values: Group) -> Group {
        values
    }
}

impl Keep<'_> for KeepLargest {
    fn new(_: Avx512, selection: Selection, _mask: Option<&[u64]>, first: u64) -> Option<(Self, f64)> {
        let (threshold, ties_before, rescale) = match selection {
            Selection::All => (0, u64::MAX, 1.0),
            Selection::Magnitude { threshold, ties_before, rescale } if threshold <= INFINITY_KEY => {
                (threshold, ties_before.saturating_sub(first), rescale)
            }
            _ => return None,
        };
        // SAFETY: `Avx512` is only constructed after the CPU feature check.
        let threshold = unsafe { _mm512_set1_epi32((threshold as u32).cast_signed()) };
        Some((Self { threshold, ties_before }, rescale))
    }

    #[inline(always)]
    fn keep(&mut self, at: usize, rescale: __m512, values: Group) -> Group {
        // SAFETY: the selection is only constructed with an `Avx512`, which follows the CPU feature check.
        unsafe { largest(self.threshold, self.ties_before.saturating_sub(at as u64), rescale, values) }
    }
}

/// Keeps magnitudes above the threshold and the first `ties` of those equal to it. NaN is kept, since thresholds are at
/// most infinity here.
#[target_feature(enable = "avx512f,bmi2")]
#[inline]
fn largest(threshold: __m512i, ties: u64, rescale: __m512, mut values: Group) -> Group {
    let key = |value| _mm512_and_si512(_mm512_castps_si512(value), _mm512_set1_epi32(i32::MAX));
    if ties >= GROUP as u64 {
        for value in &mut values {
            *value = _mm512_maskz_mul_ps(_mm512_cmpge_epi32_mask(key(*value), threshold), *value, rescale);
        }
    } else {
        let first = masks_of((1 << ties) - 1);
        for (value, first) in values.iter_mut().zip(first) {
            let keep = _mm512_cmpgt_epi32_mask(key(*value), threshold)
                | _mm512_mask_cmpge_epi32_mask(first, key(*value), threshold);
            *value = _mm512_maskz_mul_ps(keep, *value, rescale);
        }
    }
    values
}

impl<'a> Keep<'a> for KeepRandom<'a> {
    fn new(_: Avx512, selection: Selection, mask: Option<&'a [u64]>, first: u64) -> Option<(Self, f64)> {
        let (stream, keep_below, rescale) = match selection {
            Selection::All => (Philox::new(0), 1 << 32, 1.0),
            Selection::Random { stream, keep_below, rescale } => (stream, keep_below, rescale),
            _ => return None,
        };
        Some((Self { draws: Draws::new(stream, keep_below), mask, first, around: Bits::default() }, rescale))
    }

    #[inline(always)]
    fn keep(&mut self, at: usize, rescale: __m512, values: Group) -> Group {
        let drawn = match self.mask {
            Some(mask) => mask[at / GROUP],
            None => {
                let part = at / GROUP % self.around.len();
                if part == 0 {
                    // SAFETY: the selection is only constructed with an `Avx512`, which follows the CPU feature check.
                    self.around = unsafe { self.draws.bits(self.first + at as u64) };
                }
                self.around[part]
            }
        };
        // SAFETY: as above.
        unsafe { drawn_only(drawn, rescale, values) }
    }
}

#[target_feature(enable = "avx512f,bmi2")]
#[inline]
fn drawn_only(drawn: u64, rescale: __m512, mut values: Group) -> Group {
    if any_nan(&values) {
        return drawn_or_nan(drawn, rescale, values);
    }
    for (keep, value) in masks_of(drawn).into_iter().zip(&mut values) {
        *value = _mm512_maskz_mul_ps(keep, *value, rescale);
    }
    values
}

#[target_feature(enable = "avx512f,bmi2")]
#[cold]
#[inline(never)]
fn drawn_or_nan(drawn: u64, rescale: __m512, mut values: Group) -> Group {
    for (keep, value) in masks_of(drawn).into_iter().zip(&mut values) {
        let keep = keep | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(*value, *value);
        *value = _mm512_maskz_mul_ps(keep, *value, rescale);
    }
    values
}
