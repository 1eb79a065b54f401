//! The gate: whether a candidate forgot anything that its baseline could do.
//!
//! [`config`] is what may be asked ([`GateConfig`]), [`decision`] the statistics behind the three
//! verdicts, [`run`] applies one to the other, [`junit`] and [`markdown`] are files for CI.
//!
//! What the verdicts mean, for one check with tolerance `t` and level `alpha`:
//!
//! - **fail**: the drop is shown to be greater than `t`. If it is not, this happens with probability
//!   at most `alpha`, over all checks of a gate together (Holm's correction).
//! - **pass**: the drop is shown to be at most `t`. If it is not, this happens with probability at
//!   most `alpha`; a gate passes only when every check does, which needs no correction.
//! - **inconclusive**: these documents show neither. The report says how many would.

pub mod config;
pub mod decision;
pub mod junit;
pub mod markdown;
pub mod run;

pub use config::{GateConfig, Rules};
pub use decision::{Evidence, Verdict};
pub use run::{Check, GateReport, decide};
