//! Documents that a split may hold.

use crate::rng::stream_key;

/// Purpose of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Split {
    /// Training a specialist.
    Train,
    /// Choosing among specialists and merges.
    Validation,
    /// Reporting.
    Test,
    /// The base model's own training.
    Pretraining,
}

impl Split {
    /// The split of a core sentence, for every seed the same.
    pub(super) fn of(task: &str, core: &str) -> Self {
        match stream_key(0, &["demo", task, core]) % 100 {
            0..45 => Self::Train,
            45..60 => Self::Validation,
            60..80 => Self::Test,
            _ => Self::Pretraining,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::Pretraining => "pretraining",
        }
    }
}

/// Documents of a task's splits; unseen tasks have no training documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SplitSizes {
    /// Training documents of a seen task.
    pub train: usize,
    /// Validation documents of a task.
    pub validation: usize,
    /// Test documents of a task.
    pub test: usize,
}

impl Default for SplitSizes {
    fn default() -> Self {
        Self { train: 2000, validation: 300, test: 400 }
    }
}

impl SplitSizes {
    pub(super) fn of(self, split: Split) -> usize {
        match split {
            Split::Train => self.train,
            Split::Validation => self.validation,
            Split::Test => self.test,
            Split::Pretraining => 0,
        }
    }
}
