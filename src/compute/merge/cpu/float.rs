//! The two compute types, and conversion of blocks of elements to and from them.

use crate::compute::merge::Operand;
use crate::dtype::{
    DType, bf16_to_f32, canonical_f32, canonical_f64, f16_to_f32, f32_to_bf16, f32_to_f16, f64_to_f32_odd,
};

/// Elements a kernel works on at a time: small enough for several buffers in the first-level cache,
/// a multiple of the generator's group of 64.
pub(crate) const BLOCK: usize = 1024;

/// Buffer of a block, aligned to a cache line: loads that straddle two lines cost twice.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Aligned<T>(pub [T; BLOCK]);

impl<T: Copy + Default> Aligned<T> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self([T::default(); BLOCK])
    }
}

/// A compute type: f32 or f64.
pub(crate) trait Float: Copy + PartialOrd + Default + Send + Sync + 'static {
    /// Magnitude key, an unsigned integer of the same width.
    type Key: Copy + Ord + Into<u64> + Default;

    fn from_f32(value: f32) -> Self;
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn over(self, other: Self) -> Self;
    /// `self * factor + addend` with one rounding.
    fn fused(self, factor: Self, addend: Self) -> Self;
    /// Bits without the sign, which order as magnitudes do.
    fn key(self) -> Self::Key;
    fn key_from(key: u64) -> Self::Key;
    fn is_nan(self) -> bool;
    fn magnitude(self) -> Self;
    fn to_bf16(self) -> u16;
    fn to_f16(self) -> u16;
    fn to_f32(self) -> f32;
}

/// Counts keys above `high`, and writes those from `low` to `high`, as offsets from `low`, to the front of `inside`.
/// Returns both numbers.
#[inline(always)]
pub(crate) fn sift<K: Copy + Ord + Into<u64>>(
    keys: &[K],
    low: K,
    high: K,
    inside: &mut [u32; BLOCK],
) -> (usize, usize) {
    let mut above = 0_u32;
    for key in keys {
        above += u32::from(*key > high);
    }
    // Most groups have no key inside the bracket. In those that have, every key is written and only keys inside advance
    // the count: a branch on a single key would be mispredicted.
    let (mut count, first) = (0, low.into());
    for group in keys.chunks(16) {
        let mut any = false;
        for key in group {
            any |= (*key >= low) & (*key <= high);
        }
        if any {
            for key in group {
                let here = (*key >= low) & (*key <= high);
                let key: u64 = (*key).into();
                inside[count % BLOCK] = key.wrapping_sub(first) as u32;
                count += usize::from(here);
            }
        }
    }
    (above as usize, count)
}

impl Float for f32 {
    type Key = u32;

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn over(self, other: Self) -> Self {
        self / other
    }
    #[inline(always)]
    fn fused(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }
    #[inline(always)]
    fn key(self) -> u32 {
        self.to_bits() & 0x7fff_ffff
    }
    #[inline(always)]
    fn key_from(key: u64) -> u32 {
        key as u32
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }
    #[inline(always)]
    fn magnitude(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn to_bf16(self) -> u16 {
        f32_to_bf16(self)
    }
    #[inline(always)]
    fn to_f16(self) -> u16 {
        f32_to_f16(self)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        canonical_f32(self)
    }
}

impl Float for f64 {
    type Key = u64;

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        Self::from(value)
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn over(self, other: Self) -> Self {
        self / other
    }
    #[inline(always)]
    fn fused(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }
    #[inline(always)]
    fn key(self) -> u64 {
        self.to_bits() & 0x7fff_ffff_ffff_ffff
    }
    #[inline(always)]
    fn key_from(key: u64) -> u64 {
        key
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }
    #[inline(always)]
    fn magnitude(self) -> Self {
        self.abs()
    }
    #[inline(always)]
    fn to_bf16(self) -> u16 {
        f32_to_bf16(f64_to_f32_odd(self))
    }
    #[inline(always)]
    fn to_f16(self) -> u16 {
        f32_to_f16(f64_to_f32_odd(self))
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        canonical_f32(self as f32)
    }
}

/// Reads elements `start..start + out.len()` of an operand.
#[inline(always)]
pub(crate) fn load<W: Float>(operand: &Operand<'_>, start: usize, out: &mut [W]) {
    let width = operand.dtype.bytes();
    let bytes = &operand.bytes[start * width..(start + out.len()) * width];
    match operand.dtype {
        DType::BF16 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *o = W::from_f32(bf16_to_f32(u16::from_le_bytes(*b)));
            }
        }
        DType::F16 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *o = W::from_f32(f16_to_f32(u16::from_le_bytes(*b)));
            }
        }
        DType::F32 => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *o = W::from_f32(f32::from_le_bytes(*b));
            }
        }
        // The planner only sends floats here; F64 is the last of them.
        _ => {
            for (o, b) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *o = W::from_f64(f64::from_le_bytes(*b));
            }
        }
    }
}

/// Writes `values` as elements from `start` on.
#[inline(always)]
pub(crate) fn store<W: Float>(values: &[W], dtype: DType, start: usize, out: &mut [u8]) {
    let width = dtype.bytes();
    let bytes = &mut out[start * width..(start + values.len()) * width];
    match dtype {
        DType::BF16 => {
            for (b, v) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *b = v.to_bf16().to_le_bytes();
            }
        }
        DType::F16 => {
            for (b, v) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *b = v.to_f16().to_le_bytes();
            }
        }
        DType::F32 => {
            for (b, v) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *b = v.to_f32().to_le_bytes();
            }
        }
        _ => {
            for (b, v) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(values) {
                *b = canonical_f64(v.to_f64()).to_le_bytes();
            }
        }
    }
}
