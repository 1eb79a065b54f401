//! Training log, for people and for tools that read transformers' files.
//!
//! [`TrainLog`] appends every [`LogLine`] to `trainer_log.jsonl` and to a TensorBoard event file below
//! `runs/`, and keeps the lines for [`TrainerState`], which a checkpoint holds as
//! `trainer_state.json`. Both files survive being cut off anywhere; a resumed run first takes back
//! what was logged after its checkpoint, so that no step stands in them twice.

mod error;
mod jsonl;
mod line;
mod state;
mod tensorboard;
mod train_log;

pub(crate) use line::LogLine;
pub(crate) use state::TrainerState;
pub(crate) use train_log::{EVENT_FILE, LOG_FILE, TrainLog};
