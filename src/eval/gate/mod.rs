//! The gate: whether a candidate forgot anything that its baseline could do.
//!
//! [`config`] is what may be asked ([`GateConfig`]), `file` and `slip` read it, `limits` compares it with
//! the results, [`decision`] holds the statistics behind the three verdicts, [`run`] and `checks`
//! apply one to the other, [`junit`] and [`markdown`] are files for CI.
//!
//! What the verdicts mean, for one check with tolerance `t` and level `alpha`:
//!
//! - **fail**: the drop is shown to be greater than `t`. If it is not, this happens with probability
//!   at most `alpha`, over all checks of a gate together (Holm's correction).
//! - **pass**: the drop is shown to be at most `t`. If it is not, this happens with probability at
//!   most `alpha`; a gate passes only when every check does, which needs no correction.
//! - **inconclusive**: these documents show neither. The report says how many would.

mod checks;
pub mod config;
pub mod decision;
mod file;
pub mod junit;
mod limits;
pub mod markdown;
pub mod run;
mod slip;

pub use config::{GateConfig, GroupRules, RoleRules, Rules, TaskRules};
pub use decision::{Evidence, Verdict};
pub use file::read;
pub use limits::check_rules;
pub use run::{Check, GateReport, decide};
pub use slip::Limit;
