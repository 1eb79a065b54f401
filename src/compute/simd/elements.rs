//! Storage types of packed panels.

use super::operands::Line;
use super::vector::{Element, LANES, Simd};

/// bfloat16, the high half of an f32.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Bf16(pub u16);

/// IEEE 754 binary16.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct F16(pub u16);

impl Element for f32 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self; LANES]) -> S::V {
        simd.load(from)
    }
    #[inline(always)]
    fn widened<'a, S: Simd>(
        _: S,
        lines: &'a [Line<Self>; LANES],
        _: &'a mut [Line<f32>; LANES],
    ) -> &'a [Line<f32>; LANES] {
        lines
    }
}

impl Element for Bf16 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self; LANES]) -> S::V {
        // SAFETY: a transparent wrapper of `u16`.
        simd.widen_bf16(unsafe { &*std::ptr::from_ref(from).cast() })
    }
}

impl Element for F16 {
    #[inline(always)]
    fn widen<S: Simd>(simd: S, from: &[Self; LANES]) -> S::V {
        // SAFETY: a transparent wrapper of `u16`.
        simd.widen_f16(unsafe { &*std::ptr::from_ref(from).cast() })
    }
}
