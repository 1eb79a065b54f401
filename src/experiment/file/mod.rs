//! Reading EXPERIMENT.yml.
//!
//! Every fault is reported at once, with its place; an unknown key is an error with the nearest
//! known one. Training settings are taken as they are: their keys belong to the training recipe,
//! which checks them before anything runs. Relative paths start from the file's folder.

mod evaluation;
mod experiment;
mod gate;
mod merges;
mod reader;
mod specialists;
#[cfg(test)]
mod tests;

pub use experiment::load;
#[cfg(test)]
pub(super) use experiment::parse;
