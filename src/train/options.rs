//! Paths and options of a run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::WeightPool;
use crate::parallel::Workers;

/// Paths and options of a run.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Folder of the result, the logs and the checkpoints.
    pub out: PathBuf,
    /// Folder that relative data files of tasks are in.
    pub data_dir: Option<PathBuf>,
    /// Go on from the last checkpoint in `out`.
    pub resume: bool,
    /// Start over where `out` holds a run; with `resume`, only where it is not this one.
    pub force: bool,
    /// Further files that the run comes from, and must not replace: the recipe's.
    pub inputs: Vec<PathBuf>,
    /// Pool through which the base model's weights are shared with other decoders.
    #[doc(hidden)]
    pub pool: Option<Arc<WeightPool>>,
    /// Threads that train and evaluate; no byte depends on them.
    pub workers: Workers,
}

impl TrainOptions {
    /// A new run into this folder.
    #[must_use]
    pub fn new(out: &Path) -> Self {
        Self {
            out: out.to_owned(),
            data_dir: None,
            resume: false,
            force: false,
            inputs: Vec::new(),
            pool: None,
            workers: Workers::available(),
        }
    }
}
