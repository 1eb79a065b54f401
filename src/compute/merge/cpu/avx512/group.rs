//! Groups of 64 consecutive elements in four registers: conversion from and to bf16, f16 and f32 memory.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_UNORD_Q, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_prefetch,
    _mm256_loadu_si256, _mm256_storeu_si256, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mask_add_epi32, _mm512_mask_mov_epi16, _mm512_mask_mov_ps, _mm512_permutex2var_ps, _mm512_set_epi32,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32, _mm512_srli_epi32, _mm512_storeu_ps, _mm512_storeu_si512,
    _mm512_sub_ps, _mm512_test_epi32_mask, _pext_u64,
};

use crate::compute::merge::{ComputeType, Delta, Operand, Output};
use crate::compute::simd::Avx512;
use crate::dtype::DType;

/// Even elements of the first half, its odd ones, then those of the second half: the order that bf16 widens to with one
/// shift and one mask, with no shuffle across lanes.
pub(crate) type Group = [__m512; 4];

/// Elements of a group.
pub(crate) const GROUP: usize = 64;

/// Prefetch distance in bytes: the CPU's own prefetcher stops at the end of a page.
const AHEAD: usize = 2048;

/// Bytes of a group of 16-bit elements.
type Halves = [u8; GROUP * 2];
/// Bytes of a group of f32.
type Singles = [u8; GROUP * 4];

/// An operand no wider than f32.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    groups: Groups<'a>,
    /// Bytes after the last whole group.
    rest: &'a [u8],
}

/// Whole groups by storage type. Sliced once, so that a loop over them checks one index a group.
#[derive(Clone, Copy)]
enum Groups<'a> {
    Bf16(&'a [Halves]),
    F16(&'a [Halves]),
    F32(&'a [Singles]),
}

impl Groups<'_> {
    fn width(&self) -> usize {
        if matches!(self, Self::F32(_)) { 4 } else { 2 }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bf16(groups) | Self::F16(groups) => groups.len(),
            Self::F32(groups) => groups.len(),
        }
    }
}

impl<'a> Source<'a> {
    /// `None` for operands wider than f32.
    pub(crate) fn new(_: Avx512, operand: Operand<'a>) -> Option<Self> {
        let halves = operand.bytes.as_chunks();
        let (groups, rest) = match operand.dtype {
            DType::BF16 => (Groups::Bf16(halves.0), halves.1),
            DType::F16 => (Groups::F16(halves.0), halves.1),
            DType::F32 => {
                let (groups, rest) = operand.bytes.as_chunks();
                (Groups::F32(groups), rest)
            }
            _ => return None,
        };
        Some(Self { groups, rest })
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.groups.len() * GROUP + self.rest.len() / self.groups.width()
    }

    /// Copies the elements after the last whole group into `scratch`, padded with zeros to a group.
    fn last<'s>(&self, scratch: &'s mut Singles) -> Source<'s> {
        scratch[..self.rest.len()].copy_from_slice(self.rest);
        let halves = &scratch.as_chunks().0[..1];
        let groups = match self.groups {
            Groups::Bf16(_) => Groups::Bf16(halves),
            Groups::F16(_) => Groups::F16(halves),
            Groups::F32(_) => Groups::F32(std::slice::from_ref(scratch)),
        };
        Source { groups, rest: &[] }
    }

    /// Loads elements `at..at + 64`, `at` being a multiple of 64. Inlined, so that the group stays in registers.
    #[inline(always)]
    pub(crate) fn group(&self, at: usize) -> Group {
        // SAFETY: a `Source` is only constructed with an `Avx512`, which follows the CPU feature check.
        unsafe {
            match self.groups {
                Groups::F32(groups) => from_f32(&groups[at / GROUP]),
                Groups::F16(groups) => from_f16(&groups[at / GROUP]),
                Groups::Bf16(groups) => from_bf16(&groups[at / GROUP]),
            }
        }
    }
}

/// Prefetches the group [`AHEAD`] bytes later.
#[inline(always)]
fn prefetch_ahead(bytes: &[u8]) {
    for line in (0..bytes.len()).step_by(64) {
        let address = bytes.as_ptr().wrapping_add(AHEAD + line);
        // SAFETY: a prefetch changes no memory and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn from_bf16(bytes: &Halves) -> Group {
    prefetch_ahead(bytes);
    // SAFETY: a half of the group's bytes each.
    let half = |i: usize| unsafe { _mm512_loadu_si512(bytes.as_ptr().add(64 * i).cast()) };
    let (first, second) = (half(0), half(1));
    [even_of(first), odd_of(first), even_of(second), odd_of(second)]
}

/// Widens the even elements: bf16 are the upper halves of f32.
#[target_feature(enable = "avx512f")]
#[inline]
fn even_of(halves: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn odd_of(halves: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_and_si512(halves, _mm512_set1_epi32(0xffff_0000_u32.cast_signed())))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn from_f32(bytes: &Singles) -> Group {
    prefetch_ahead(bytes);
    // SAFETY: a quarter of the group's bytes each.
    let part = |i: usize| unsafe { _mm512_loadu_ps(bytes.as_ptr().add(64 * i).cast()) };
    apart([part(0), part(1), part(2), part(3)])
}

/// Out of line, like the rarer cases of [`Target::store`]: inlined into every kernel they would push bf16 out of the
/// instruction cache.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
#[inline(never)]
fn from_f16(bytes: &Halves) -> Group {
    // SAFETY: a quarter of the group's bytes each.
    let part = |i: usize| unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().add(32 * i).cast())) };
    apart([part(0), part(1), part(2), part(3)])
}

/// Permutes elements `16 i ..` in register `i` to group order.
#[target_feature(enable = "avx512f")]
#[inline]
fn apart(x: [__m512; 4]) -> Group {
    let even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    let odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    permuted(x, even, odd)
}

/// Permutes group order to elements `16 i ..` in register `i`.
#[target_feature(enable = "avx512f")]
#[inline]
fn together(x: Group) -> [__m512; 4] {
    let first = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    let second = _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
    permuted(x, first, second)
}

/// Two registers from each half of the group, by indices into its 32 elements.
#[target_feature(enable = "avx512f")]
#[inline]
fn permuted(x: [__m512; 4], first: __m512i, second: __m512i) -> [__m512; 4] {
    [
        _mm512_permutex2var_ps(x[0], first, x[1]),
        _mm512_permutex2var_ps(x[0], second, x[1]),
        _mm512_permutex2var_ps(x[2], first, x[3]),
        _mm512_permutex2var_ps(x[2], second, x[3]),
    ]
}

/// A bit for each element of a group, bit `i` for element `i`, as a mask for each register.
#[target_feature(enable = "bmi2")]
#[inline]
pub(crate) fn masks_of(bits: u64) -> [u16; 4] {
    let even = _pext_u64(bits, 0x5555_5555_5555_5555);
    let odd = _pext_u64(bits, 0xaaaa_aaaa_aaaa_aaaa);
    [even as u16, odd as u16, (even >> 16) as u16, (odd >> 16) as u16]
}

/// Whether any element is NaN.
#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn any_nan(x: &Group) -> bool {
    _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x[0], x[1]) | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x[2], x[3]) != 0
}

/// Scratch for a group of a vector and of its base.
pub(crate) struct Scratch([Singles; 2]);

impl Default for Scratch {
    fn default() -> Self {
        Self([[0; GROUP * 4]; 2])
    }
}

/// A task vector, or a model when there is no base.
#[derive(Clone, Copy)]
pub(crate) struct Vector<'a> {
    tuned: Source<'a>,
    base: Option<Source<'a>>,
}

impl<'a> Vector<'a> {
    /// `None` for task vectors computed in f64.
    pub(crate) fn new(simd: Avx512, delta: &Delta<'a>) -> Option<Self> {
        if delta.precision != ComputeType::F32 {
            return None;
        }
        let base = match delta.base {
            Some(base) => Some(Source::new(simd, base)?),
            None => None,
        };
        Some(Self { tuned: Source::new(simd, delta.tuned)?, base })
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.tuned.len()
    }

    /// The elements after the last whole group, padded with zeros to a group.
    pub(crate) fn last<'s>(&self, scratch: &'s mut Scratch) -> Vector<'s> {
        let Scratch([tuned, base]) = scratch;
        Vector { tuned: self.tuned.last(tuned), base: self.base.map(|source| source.last(base)) }
    }

    /// Elements `at..at + 64`.
    #[inline(always)]
    pub(crate) fn group(&self, at: usize) -> Group {
        let tuned = self.tuned.group(at);
        match &self.base {
            None => tuned,
            // SAFETY: a `Source` is only constructed with an `Avx512`, which follows the CPU feature check.
            Some(base) => unsafe { minus(tuned, base.group(at)) },
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
pub(crate) fn minus(a: Group, b: Group) -> Group {
    [_mm512_sub_ps(a[0], b[0]), _mm512_sub_ps(a[1], b[1]), _mm512_sub_ps(a[2], b[2]), _mm512_sub_ps(a[3], b[3])]
}

/// Output of whole groups.
pub(crate) enum Target<'a> {
    Bf16(&'a mut [Halves]),
    F16(&'a mut [Halves]),
    F32(&'a mut [Singles]),
}

impl<'a> Target<'a> {
    /// `None` for outputs wider than f32.
    pub(crate) fn new(_: Avx512, output: &'a mut Output<'_>) -> Option<Self> {
        match output.dtype {
            DType::BF16 => Some(Self::Bf16(output.bytes.as_chunks_mut().0)),
            DType::F16 => Some(Self::F16(output.bytes.as_chunks_mut().0)),
            DType::F32 => Some(Self::F32(output.bytes.as_chunks_mut().0)),
            _ => None,
        }
    }

    /// Stores elements `at..at + 64`: rounded to nearest, ties to even, NaN canonical. Inlined, so that the group stays in
    /// registers.
    #[inline(always)]
    pub(crate) fn store(&mut self, mut group: Group, at: usize) {
        // SAFETY: a `Target` is only constructed with an `Avx512`, which follows the CPU feature check.
        unsafe {
            if any_nan(&group) {
                group = with_canonical_nan(group);
            }
            match self {
                Self::F32(groups) => store_f32(group, &mut groups[at / GROUP]),
                Self::F16(groups) => store_f16(group, &mut groups[at / GROUP]),
                Self::Bf16(groups) => store_bf16(group, &mut groups[at / GROUP]),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_bf16(group: Group, bytes: &mut Halves) {
    for i in 0..2 {
        let even = _mm512_srli_epi32::<16>(rounded_to_bf16(group[2 * i]));
        let both = _mm512_mask_mov_epi16(even, 0xaaaa_aaaa, rounded_to_bf16(group[2 * i + 1]));
        // SAFETY: a half of the group's bytes each.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().add(64 * i).cast(), both) };
    }
}

/// Rounds to bf16 in the upper halves of the lanes, to nearest, ties to even, as [`crate::dtype::f32_to_bf16`]. Every NaN
/// must be canonical, which rounding leaves unchanged.
#[target_feature(enable = "avx512f")]
#[inline]
fn rounded_to_bf16(values: __m512) -> __m512i {
    let bits = _mm512_castps_si512(values);
    let odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x1_0000));
    let below = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    _mm512_mask_add_epi32(below, odd, below, _mm512_set1_epi32(1))
}

/// Replaces every NaN by the canonical one.
#[target_feature(enable = "avx512f")]
#[cold]
#[inline(never)]
fn with_canonical_nan(mut group: Group) -> Group {
    for values in &mut group {
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(*values, *values);
        *values = _mm512_mask_mov_ps(*values, nan, _mm512_set1_ps(f32::NAN));
    }
    group
}

#[target_feature(enable = "avx512f")]
#[inline(never)]
fn store_f32(group: Group, bytes: &mut Singles) {
    for (i, values) in together(group).into_iter().enumerate() {
        // SAFETY: a quarter of the group's bytes each.
        unsafe { _mm512_storeu_ps(bytes.as_mut_ptr().add(64 * i).cast(), values) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline(never)]
fn store_f16(group: Group, bytes: &mut Halves) {
    for (i, values) in together(group).into_iter().enumerate() {
        let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(values);
        // SAFETY: a quarter of the group's bytes each.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().add(32 * i).cast(), halves) };
    }
}
