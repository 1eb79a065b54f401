//! Rows of a batch as layers see them.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;

use super::ops::Span;
use super::rope::Rotation;

/// Row bookkeeping of a batch of segments laid end to end.
#[derive(Debug)]
pub(super) struct Batch {
    /// One a segment, covering all its rows.
    pub(super) spans: Arc<Vec<Span>>,
    /// The wanted rows, as runs of consecutive ones.
    pub(super) wanted_spans: Arc<Vec<Span>>,
    /// Row numbers of the wanted rows; `None` when all rows are wanted in order.
    pub(super) wanted: Option<Tensor>,
    /// Whether no row is wanted: then only keys and values are.
    pub(super) none_wanted: bool,
    /// One for each set of rotary parameters.
    pub(super) rotations: Vec<Rotations>,
    /// Rows of each segment, and whether its keys and values are kept.
    pub(super) segments: Vec<(Range<usize>, bool)>,
}

/// Tables for all rows and for the wanted ones.
#[derive(Debug)]
pub(super) struct Rotations {
    pub(super) all: Arc<Rotation>,
    pub(super) wanted: Arc<Rotation>,
}
