//! The tasks: four that specialists are trained on, three financial ones that they are not, and two
//! general ones.

mod causal;
mod claim;
mod deal;
mod general;
mod headline;
mod list;
mod relation;
mod sentiment;
mod stance;
mod task;

pub(super) use list::TASKS;
pub(super) use task::{DemoTask, Document};
