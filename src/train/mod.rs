//! Training specialists.

pub mod data;
pub mod recipe;
