//! The suites that every implementation of a kernel must pass, against plain loops in f64.

#[cfg(test)]
pub(crate) mod merge;
#[cfg(test)]
pub(crate) mod nn;
