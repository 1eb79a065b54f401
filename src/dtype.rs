//! Element types of checkpoints and the scalar conversions that every kernel must reproduce.
//!
//! Conversions to 16-bit floats round to nearest, ties to even. Every NaN is stored as one
//! canonical quiet NaN, so that two devices with different NaN payload rules write the same bytes.

use std::fmt;

/// The element type of a tensor, as safetensors names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, non_camel_case_types)]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    BOOL,
    C64,
    F8_E4M3,
    F8_E5M2,
    F8_E8M0,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
    F6_E2M3,
    F6_E3M2,
    F4,
}

/// Every dtype with its safetensors name and width in bits.
const TABLE: &[(DType, &str, u32)] = &[
    (DType::F64, "F64", 64),
    (DType::F32, "F32", 32),
    (DType::F16, "F16", 16),
    (DType::BF16, "BF16", 16),
    (DType::I64, "I64", 64),
    (DType::I32, "I32", 32),
    (DType::I16, "I16", 16),
    (DType::I8, "I8", 8),
    (DType::U64, "U64", 64),
    (DType::U32, "U32", 32),
    (DType::U16, "U16", 16),
    (DType::U8, "U8", 8),
    (DType::BOOL, "BOOL", 8),
    (DType::C64, "C64", 64),
    (DType::F8_E4M3, "F8_E4M3", 8),
    (DType::F8_E5M2, "F8_E5M2", 8),
    (DType::F8_E8M0, "F8_E8M0", 8),
    (DType::F8_E4M3FNUZ, "F8_E4M3FNUZ", 8),
    (DType::F8_E5M2FNUZ, "F8_E5M2FNUZ", 8),
    (DType::F6_E2M3, "F6_E2M3", 6),
    (DType::F6_E3M2, "F6_E3M2", 6),
    (DType::F4, "F4", 4),
];

impl DType {
    /// The dtype that safetensors calls `name` (upper case), if there is one.
    #[must_use]
    pub fn from_safetensors(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The dtype of a recipe's `dtype:` value: mergekit's names, with an optional `torch.` prefix.
    #[must_use]
    pub fn from_recipe(name: &str) -> Option<Self> {
        match name.strip_prefix("torch.").unwrap_or(name) {
            "float64" => Some(Self::F64),
            "float32" => Some(Self::F32),
            "float16" => Some(Self::F16),
            "bfloat16" => Some(Self::BF16),
            _ => None,
        }
    }

    /// The names [`DType::from_recipe`] takes.
    pub const RECIPE_NAMES: [&'static str; 4] = ["bfloat16", "float16", "float32", "float64"];

    /// The name transformers writes into `config.json`, for floating dtypes.
    #[must_use]
    pub fn torch_name(self) -> Option<&'static str> {
        match self {
            Self::F64 => Some("float64"),
            Self::F32 => Some("float32"),
            Self::F16 => Some("float16"),
            Self::BF16 => Some("bfloat16"),
            _ => None,
        }
    }

    /// The safetensors name.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.0 == self).map_or("?", |row| row.1)
    }

    /// Width of one element in bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        TABLE.iter().find(|row| row.0 == self).map_or(8, |row| row.2)
    }

    /// Width of one element in bytes; sub-byte types count as one byte.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.bits().div_ceil(8) as usize
    }

    /// Whether billon can do arithmetic on it.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// Whether it only occurs in quantised checkpoints.
    #[must_use]
    pub fn is_quantised(self) -> bool {
        matches!(
            self,
            Self::F8_E4M3
                | Self::F8_E5M2
                | Self::F8_E8M0
                | Self::F8_E4M3FNUZ
                | Self::F8_E5M2FNUZ
                | Self::F6_E2M3
                | Self::F6_E3M2
                | Self::F4
        )
    }

    /// The type both floats convert to without loss, as PyTorch promotes them
    /// (bf16 with f16 gives f32).
    #[must_use]
    pub fn promote(self, other: Self) -> Self {
        if self == other {
            self
        } else if self == Self::F64 || other == Self::F64 {
            Self::F64
        } else {
            Self::F32
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// bf16 bits to f32, exact.
#[inline(always)]
#[must_use]
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// f32 to bf16 bits: nearest, ties to even, one NaN (`0x7fc0`).
#[inline(always)]
#[must_use]
pub fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    // A select, not a branch, so that loops over this function vectorise.
    if value.is_nan() { 0x7fc0 } else { rounded }
}

/// f16 bits to f32, exact, without branches (one multiplication renormalises denormals).
#[inline(always)]
#[must_use]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // 2^112 moves the exponent bias from 15 to 127; f16 denormals become normal numbers.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits((112 + 127) << 23)).to_bits();
    let special = magnitude | 0x7f80_0000;
    let magnitude = if magnitude >= 0x0f80_0000 { special } else { scaled };
    f32::from_bits(sign | magnitude)
}

/// f32 to f16 bits: nearest, ties to even, overflow to infinity, one NaN (`0x7e00`).
#[inline(always)]
#[must_use]
pub(crate) fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    // Normal range: re-bias and round in integers; a carry into infinity is the right answer.
    let odd = (magnitude >> 13) & 1;
    let normal = (magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13) as u16;
    // Below 2^-14: adding 0.5 aligns the mantissa to f16's smallest step and rounds it.
    let denormal = ((f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits())) as u16;
    let finite = if magnitude < (113 << 23) { denormal } else { normal };
    let result = if magnitude >= (143 << 23) { 0x7c00 } else { finite };
    if value.is_nan() { 0x7e00 } else { sign | result }
}

/// f32 with every NaN replaced by the canonical one.
#[inline(always)]
#[must_use]
pub(crate) fn canonical_f32(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(0x7fc0_0000) } else { value }
}

/// f64 with every NaN replaced by the canonical one.
#[inline(always)]
#[must_use]
pub(crate) fn canonical_f64(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0000) } else { value }
}

/// f64 to f32 bits rounded *to odd*: rounding the result once more to a narrower type then gives
/// the same as rounding the f64 directly, which a plain double rounding does not.
#[inline(always)]
#[must_use]
pub(crate) fn f64_to_f32_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    if back == value || value.is_nan() || nearest.is_infinite() {
        return nearest;
    }
    let bits = nearest.to_bits();
    if bits & 1 == 1 {
        return nearest;
    }
    // Even and inexact: step to the odd neighbour on the other side of `value`.
    let away = back.abs() > value.abs();
    f32::from_bits(if away { bits - 1 } else { bits + 1 })
}

/// Little-endian floats to f32; other dtypes, which callers refuse by name, to NaN. F64 is rounded.
pub(crate) fn widen(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        DType::F32 => {
            for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = f32::from_le_bytes(*bytes);
            }
        }
        DType::BF16 => {
            for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = bf16_to_f32(u16::from_le_bytes(*bytes));
            }
        }
        DType::F16 => {
            for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = f16_to_f32(u16::from_le_bytes(*bytes));
            }
        }
        DType::F64 => {
            for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = f64::from_le_bytes(*bytes) as f32;
            }
        }
        _ => out.fill(f32::NAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};
    use proptest::prelude::*;

    #[test]
    fn f16_and_bf16_widen_like_the_half_crate_for_all_patterns() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{bits:#06x}");
            let (ours, theirs) = (bf16_to_f32(bits), bf16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{bits:#06x}");
        }
    }

    /// Every f16 neighbourhood: the value, the midpoints, and one ulp to each side of them.
    #[test]
    fn narrowing_matches_the_half_crate_around_every_rounding_boundary() {
        for bits in 0..u16::MAX {
            let values = [f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32()];
            let next = [f16::from_bits(bits + 1).to_f32(), bf16::from_bits(bits + 1).to_f32()];
            for (a, b) in values.into_iter().zip(next) {
                let middle = f64::midpoint(a.into(), b.into()) as f32;
                for base in [a, middle] {
                    for step in [-1_i32, 0, 1] {
                        let value = f32::from_bits(base.to_bits().wrapping_add_signed(step));
                        if value.is_nan() {
                            assert_eq!(f32_to_f16(value), 0x7e00);
                            assert_eq!(f32_to_bf16(value), 0x7fc0);
                        } else {
                            assert_eq!(f32_to_f16(value), f16::from_f32(value).to_bits(), "{value:e}");
                            assert_eq!(f32_to_bf16(value), bf16::from_f32(value).to_bits(), "{value:e}");
                        }
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn narrowing_matches_the_half_crate_on_random_patterns(bits: u32) {
            let value = f32::from_bits(bits);
            if !value.is_nan() {
                prop_assert_eq!(f32_to_f16(value), f16::from_f32(value).to_bits());
                prop_assert_eq!(f32_to_bf16(value), bf16::from_f32(value).to_bits());
            }
        }

        #[test]
        fn odd_rounding_makes_double_rounding_harmless(a: f32, nudge in -4_i64..5) {
            prop_assume!(a.is_finite());
            // Values a hair off a bf16 midpoint are the ones double rounding gets wrong.
            let middle = f32::from_bits((a.to_bits() & 0xffff_0000) | 0x8000);
            prop_assume!(middle.is_finite() && middle.abs() > 1e-30 && middle.abs() < 1e30);
            let value = f64::from_bits(f64::from(middle).to_bits().wrapping_add_signed(nudge));
            let below = (a.to_bits() >> 16) as u16;
            let distance = |bits: u16| (f64::from(bf16_to_f32(bits)) - value).abs();
            let nearest = match distance(below).total_cmp(&distance(below + 1)) {
                std::cmp::Ordering::Less => below,
                std::cmp::Ordering::Greater => below + 1,
                std::cmp::Ordering::Equal => below + (below & 1),
            };
            prop_assert_eq!(f32_to_bf16(f64_to_f32_odd(value)), nearest);
        }
    }

    #[test]
    fn promotion_follows_pytorch() {
        assert_eq!(DType::BF16.promote(DType::F16), DType::F32);
        assert_eq!(DType::BF16.promote(DType::BF16), DType::BF16);
        assert_eq!(DType::F16.promote(DType::F64), DType::F64);
    }
}
