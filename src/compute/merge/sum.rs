//! The fixed shape of floating-point sums, so that any number of SIMD lanes gives the same bits.
//!
//! Element `i` of a call is added, in f64, to lane `i % SUM_LANES` in order of `i`; the lanes are then added pairwise
//! ([`fold_lanes`]). Sums of magnitudes first add runs of [`SUM_RUN`] elements, again by lanes, in the compute type.

/// Lanes of a sum.
pub(crate) const SUM_LANES: usize = 32;

/// Elements of a sum of magnitudes that are added in the compute type before f64 takes over.
pub(crate) const SUM_RUN: usize = 1024;

/// Adds lanes by halves: 32 to 16 to 8 to 4 to 2 to 1.
#[must_use]
pub(crate) fn fold_lanes(mut lanes: [f64; SUM_LANES]) -> f64 {
    let mut width = SUM_LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}
