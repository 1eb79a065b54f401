//! Magnitude keys: a float's bits without the sign, which order as magnitudes do (NaN above all).
//!
//! Selection of the k largest magnitudes works on keys alone: brackets from a sample, then digits of a radix select.

/// An inclusive range of magnitude keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bracket {
    /// Lowest key inside.
    pub low: u64,
    /// Highest key inside.
    pub high: u64,
}

/// A radix digit of a magnitude key: `bits` bits above `shift`, for keys whose higher bits are `prefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// Bits below the digit.
    pub shift: u32,
    /// Width of the digit.
    pub bits: u32,
    /// Required value of all bits above the digit.
    pub prefix: u64,
}

/// Magnitude key of an f32.
#[cfg(test)]
pub(crate) fn magnitude_key_f32(value: f32) -> u64 {
    u64::from(value.to_bits() & 0x7fff_ffff)
}
