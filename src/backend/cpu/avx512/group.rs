//! Sixty-four neighbouring elements in four registers, and moving them in and out.

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _CMP_UNORD_Q, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0, _mm_prefetch,
    _mm256_loadu_si256, _mm256_mask_mov_epi16, _mm256_set1_epi16, _mm256_storeu_si256, _mm512_add_epi32,
    _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32,
    _mm512_cvtph_ps, _mm512_cvtps_ph, _mm512_loadu_ps, _mm512_mask_mov_epi32, _mm512_mask_mov_ps, _mm512_packus_epi32,
    _mm512_permutexvar_epi64, _mm512_set_epi64, _mm512_set1_epi32, _mm512_set1_ps, _mm512_slli_epi32,
    _mm512_srli_epi32, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_ps,
};

use super::Avx512;
use crate::backend::{Delta, Operand, Output, Precision};
use crate::dtype::DType;

/// Elements `16 i ..` in register `i`.
pub type Group = [__m512; 4];

/// Elements of a group.
pub const GROUP: usize = 64;

/// How many bytes ahead a group asks for.
const AHEAD: usize = 2048;

/// An operand no wider than f32.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    bytes: &'a [u8],
    stored: Stored,
}

/// What elements are stored as. Three cases and no table of widths: the compiler then keeps a group in registers.
#[derive(Clone, Copy)]
enum Stored {
    Bf16,
    F16,
    F32,
}

impl Stored {
    fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::BF16 => Some(Self::Bf16),
            DType::F16 => Some(Self::F16),
            DType::F32 => Some(Self::F32),
            _ => None,
        }
    }
}

impl<'a> Source<'a> {
    /// `None` for operands that are not exact in f32.
    pub fn new(_proof: Avx512, operand: Operand<'a>) -> Option<Self> {
        Stored::of(operand.dtype).map(|stored| Self { bytes: operand.bytes, stored })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / if matches!(self.stored, Stored::F32) { 4 } else { 2 }
    }

    /// The elements from `start` on, less than a group, followed by zeros.
    fn rest<'s>(&self, start: usize, room: &'s mut [u8; GROUP * 4]) -> Source<'s> {
        let width = if matches!(self.stored, Stored::F32) { 4 } else { 2 };
        let bytes = &self.bytes[start * width..];
        room[..bytes.len()].copy_from_slice(bytes);
        Source { bytes: &room[..GROUP * width], stored: self.stored }
    }

    /// Elements `at..at + 64`. Always put into its caller, where the registers are.
    #[inline(always)]
    pub fn group(&self, at: usize) -> Group {
        // SAFETY: a source is made with the proof of the features.
        unsafe {
            match self.stored {
                Stored::F32 => from_f32(&self.bytes[at * 4..][..GROUP * 4]),
                Stored::F16 => from_f16(&self.bytes[at * 2..][..GROUP * 2]),
                Stored::Bf16 => from_bf16(&self.bytes[at * 2..][..GROUP * 2]),
            }
        }
    }
}

/// Asks for the lines of a group that comes later: the CPU itself looks no further than the page at hand.
#[inline(always)]
fn ask_ahead(bytes: &[u8]) {
    for line in (0..bytes.len()).step_by(64) {
        let address = bytes.as_ptr().wrapping_add(AHEAD + line);
        // SAFETY: a prefetch reads nothing that the program sees and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn from_f32(bytes: &[u8]) -> Group {
    assert_eq!(bytes.len(), GROUP * 4, "a group");
    ask_ahead(bytes);
    // SAFETY: a quarter of the group's bytes each.
    let part = |i: usize| unsafe { _mm512_loadu_ps(bytes.as_ptr().add(64 * i).cast()) };
    [part(0), part(1), part(2), part(3)]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
#[inline]
fn from_bf16(bytes: &[u8]) -> Group {
    assert_eq!(bytes.len(), GROUP * 2, "a group");
    ask_ahead(bytes);
    // SAFETY: a quarter of the group's bytes each.
    let part = |i: usize| unsafe { _mm256_loadu_si256(bytes.as_ptr().add(32 * i).cast()) };
    [widened(part(0)), widened(part(1)), widened(part(2)), widened(part(3))]
}

/// A function of its own, like the rarer cases of [`Target::store`]: what is left is small enough for every kernel.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2")]
#[inline(never)]
fn from_f16(bytes: &[u8]) -> Group {
    assert_eq!(bytes.len(), GROUP * 2, "a group");
    // SAFETY: a quarter of the group's bytes each.
    let part = |i: usize| unsafe { _mm256_loadu_si256(bytes.as_ptr().add(32 * i).cast()) };
    [_mm512_cvtph_ps(part(0)), _mm512_cvtph_ps(part(1)), _mm512_cvtph_ps(part(2)), _mm512_cvtph_ps(part(3))]
}

/// bf16 as the upper halves of f32.
#[target_feature(enable = "avx512f")]
#[inline]
fn widened(halves: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

/// Room for a group of a vector and of its base.
pub struct Room([[u8; GROUP * 4]; 2]);

impl Default for Room {
    fn default() -> Self {
        Self([[0; GROUP * 4]; 2])
    }
}

/// A task vector, or a model when there is no base.
#[derive(Clone, Copy)]
pub struct Vector<'a> {
    tuned: Source<'a>,
    base: Option<Source<'a>>,
}

impl<'a> Vector<'a> {
    /// `None` for what is not made in f32.
    pub fn new(proof: Avx512, delta: &Delta<'a>) -> Option<Self> {
        if delta.precision != Precision::F32 {
            return None;
        }
        let base = match delta.base {
            Some(base) => Some(Source::new(proof, base)?),
            None => None,
        };
        Some(Self { tuned: Source::new(proof, delta.tuned)?, base })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.tuned.len()
    }

    /// The elements from `start` on, less than a group, followed by zeros.
    pub fn rest<'s>(&self, start: usize, room: &'s mut Room) -> Vector<'s> {
        let Room([tuned, base]) = room;
        Vector { tuned: self.tuned.rest(start, tuned), base: self.base.map(|source| source.rest(start, base)) }
    }

    /// Elements `at..at + 64`.
    #[inline(always)]
    pub fn group(&self, at: usize) -> Group {
        let tuned = self.tuned.group(at);
        match &self.base {
            None => tuned,
            // SAFETY: a source is made with the proof of the features.
            Some(base) => unsafe { minus(tuned, base.group(at)) },
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
pub fn minus(a: Group, b: Group) -> Group {
    [_mm512_sub_ps(a[0], b[0]), _mm512_sub_ps(a[1], b[1]), _mm512_sub_ps(a[2], b[2]), _mm512_sub_ps(a[3], b[3])]
}

/// Where groups are written to.
pub struct Target<'a> {
    bytes: &'a mut [u8],
    stored: Stored,
}

impl<'a> Target<'a> {
    /// `None` for outputs wider than f32.
    pub fn new(_proof: Avx512, output: &'a mut Output<'_>) -> Option<Self> {
        Stored::of(output.dtype).map(|stored| Self { bytes: output.bytes, stored })
    }

    /// Writes elements `at..at + 64`: nearest, ties to even, one NaN. Always put into its caller, where the registers are.
    #[inline(always)]
    pub fn store(&mut self, group: Group, at: usize) {
        // SAFETY: a target is made with the proof of the features.
        unsafe {
            match self.stored {
                Stored::F32 => store_f32(group, &mut self.bytes[at * 4..][..GROUP * 4]),
                Stored::F16 => store_f16(group, &mut self.bytes[at * 2..][..GROUP * 2]),
                Stored::Bf16 => store_bf16(group, &mut self.bytes[at * 2..][..GROUP * 2]),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_bf16(group: Group, bytes: &mut [u8]) {
    assert_eq!(bytes.len(), GROUP * 2, "a group");
    // Packing works on quarters of a register.
    let order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
    for i in 0..2 {
        let mixed = _mm512_packus_epi32(to_bf16(group[2 * i]), to_bf16(group[2 * i + 1]));
        let halves = _mm512_permutexvar_epi64(order, mixed);
        // SAFETY: a half of the group's bytes each.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().add(64 * i).cast(), halves) };
    }
}

#[target_feature(enable = "avx512f")]
#[inline(never)]
fn store_f32(group: Group, bytes: &mut [u8]) {
    assert_eq!(bytes.len(), GROUP * 4, "a group");
    for (i, values) in group.into_iter().enumerate() {
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
        let canonical = _mm512_mask_mov_ps(values, nan, _mm512_set1_ps(f32::NAN));
        // SAFETY: a quarter of the group's bytes each.
        unsafe { _mm512_storeu_ps(bytes.as_mut_ptr().add(64 * i).cast(), canonical) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline(never)]
fn store_f16(group: Group, bytes: &mut [u8]) {
    assert_eq!(bytes.len(), GROUP * 2, "a group");
    for (i, values) in group.into_iter().enumerate() {
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
        let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(values);
        let canonical = _mm256_mask_mov_epi16(halves, nan, _mm256_set1_epi16(0x7e00));
        // SAFETY: a quarter of the group's bytes each.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().add(32 * i).cast(), canonical) };
    }
}

/// Bits of bf16 in the lower halves of the lanes; [`crate::dtype::f32_to_bf16`].
#[target_feature(enable = "avx512f")]
#[inline]
fn to_bf16(values: __m512) -> __m512i {
    let bits = _mm512_castps_si512(values);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, bias));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
    _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0))
}
