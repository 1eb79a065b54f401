//! The gate: whether a candidate forgot anything that its baseline could do.
//!
//! [`config`] is what may be asked ([`GateConfig`]), `file` and `slip` read it, `limits` compares it with
//! the results, [`decision`] holds the statistics behind the three verdicts, [`run`] and `checks`
//! apply one to the other, [`junit`] and [`markdown`] are files for CI.
//!
//! The verdicts, for one check with tolerance `t` and level `alpha`:
//!
//! - **fail**: the drop is shown to be greater than `t`. If it is not, this happens with probability
//!   at most `alpha`, over all checks of a gate together (Holm's correction).
//! - **pass**: the drop is shown to be at most `t`. If it is not, this happens with probability at
//!   most `alpha`; a gate passes only when every check does, which needs no correction.
//! - **inconclusive**: these documents show neither. The report says how many would.

mod check;
mod checks;
pub(crate) mod config;
pub(crate) mod decision;
mod file;
pub(crate) mod junit;
mod limits;
pub(crate) mod markdown;
pub(crate) mod run;
mod slip;

pub use check::Check;
pub use config::GateConfig;
pub(crate) use config::Rules;
pub(crate) use config::TaskRules;
pub use decision::Evidence;
pub use decision::Verdict;
pub(crate) use file::read;
pub(crate) use limits::check_rules;
pub use run::GateReport;
pub(crate) use run::decide;
pub(crate) use slip::Limit;
