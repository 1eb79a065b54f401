//! Elementwise methods: reductions over a tensor, then a map of each element.

pub(crate) mod dare;
pub(crate) mod linear;
pub(crate) mod nuslerp;
pub(crate) mod passthrough;
pub(crate) mod slerp;
pub(crate) mod task_arithmetic;
pub(crate) mod ties;
