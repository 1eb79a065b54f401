//! Statistics: distributions, resampling, exact tests.

pub(crate) mod discordant;
pub(crate) mod distribution;
pub(crate) mod resample;
