//! SIMD levels by name, for tests that are instantiated per level.

use crate::compute::simd::Level;

/// Returns the name of a level in test output.
pub(crate) fn name(level: Level) -> &'static str {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) => "avx512",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => "avx2",
        Level::Scalar(_) => "scalar",
    }
}

/// Returns a level by name, and says that the test is skipped where this CPU lacks it.
pub(crate) fn level(wanted: &str) -> Option<Level> {
    let found = Level::available().into_iter().find(|level| name(*level) == wanted);
    if found.is_none() {
        eprintln!("skipped: this CPU has no {wanted}");
    }
    found
}
