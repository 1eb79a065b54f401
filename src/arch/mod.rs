//! Meaning of tensor names: decoder layer, place before or after the layers, vocabulary axis, ties.
//!
//! There is no table of tensors per architecture: a checkpoint's own tensor list is the truth, so
//! that nothing in it is dropped. Names only tell where a tensor belongs.

mod buffer;
mod known_filters;
mod prefix;
mod role;
mod stack;

pub(crate) use buffer::is_buffer;
pub(crate) use known_filters::KNOWN_FILTERS;
pub(crate) use prefix::{Alignment, align};
pub(crate) use role::{Role, is_optional, is_vocabulary_indexed, role, tied_source};
pub(crate) use stack::{LayerStack, Place};
