//! Selections of elements of a task vector: by magnitude (TIES) or at random (DARE).
//!
//! Random selections are bit-sliced. Elements are numbered by their flat index in the tensor and drawn in groups of
//! [`DRAW_GROUP`]; bit plane `p` of a group's 1,024 draws (plane 0 is the highest bit) is contiguous, two words of sixteen
//! consecutive Philox counters, so that `draw < limit` is decided for all of them with two bitwise operations a plane:
//!
//! ```text
//! limit's bit 1:  keep |= undecided & !plane;  undecided &= plane
//! limit's bit 0:                               undecided &= !plane
//! ```
//!
//! Planes after the pair that decides the last element, or after the limit's last one bit, are never generated: a
//! density of a half needs one pair.

use crate::rng::Philox;

/// Elements that take part, and their factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Selection {
    /// All elements, unchanged.
    All,
    /// No element.
    Nothing,
    /// Magnitudes above a threshold, and those equal to it at flat indices below a limit.
    Magnitude {
        /// Threshold as a magnitude key: the bits of a float without its sign.
        threshold: u64,
        /// Elements equal to the threshold are kept when their flat index is below this.
        ties_before: u64,
        /// Factor of kept elements.
        rescale: f64,
    },
    /// Elements whose random draw of 32 bits is below a limit.
    Random {
        /// Generator of the tensor's draws.
        stream: Philox,
        /// Limit, `0..=2^32`.
        keep_below: u64,
        /// Factor of kept elements.
        rescale: f64,
    },
}

impl Selection {
    /// Replaces the factor.
    #[must_use]
    pub fn rescaled(self, factor: f64) -> Self {
        match self {
            Self::Magnitude { threshold, ties_before, .. } => {
                Self::Magnitude { threshold, ties_before, rescale: factor }
            }
            Self::Random { stream, keep_below, .. } => Self::Random { stream, keep_below, rescale: factor },
            other => other,
        }
    }
}

/// Elements that share bit planes; calls with random selections start at a multiple of it.
pub(crate) const DRAW_GROUP: u64 = 1024;

/// Pairs of bit planes of a group: 32-bit draws have 32 planes.
pub(crate) const PLANE_PAIRS: u64 = 16;

/// Locates bit `plane` of an element's draw: Philox counter, word of its block, bit of the word. The definition of the
/// layout, for tests.
#[cfg(test)]
pub(crate) fn draw_position(element: u64, plane: u32) -> (u64, usize, u32) {
    let (group, within) = (element / DRAW_GROUP, element % DRAW_GROUP);
    let counter = (group * PLANE_PAIRS + u64::from(plane / 2)) * 16 + within % 512 / 32;
    let word = (plane % 2) as usize * 2 + (within / 512) as usize;
    (counter, word, (within % 32) as u32)
}
