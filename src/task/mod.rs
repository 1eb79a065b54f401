//! Task files: what a document is, how it is asked, and what counts as right.

pub mod spec;
