//! The list of tasks.

use super::task::DemoTask;
use super::{causal, claim, deal, general, headline, relation, sentiment, stance};

/// All tasks.
pub(in crate::demo::text) const TASKS: &[DemoTask] = &[
    sentiment::TASK,
    headline::TASK,
    stance::TASK,
    relation::TASK,
    claim::TASK,
    deal::TASK,
    causal::TASK,
    general::FACT,
    general::LARGER,
];
